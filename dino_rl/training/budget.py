"""How many environment steps a run has. All schedules follow them, so that a run can be repeated from its
seed and its number of steps, on a machine of any speed."""

from typing import Any

# The rest of the time is for validations and checkpoints. With 0.78, runs of two minutes end after 2.02 to
# 2.15 minutes, those of five after 5.12 to 5.19.
TRAINING_TIME_SHARE = 0.78
# At the start of a run, this share of its steps at most comes before the schedules begin to move. A run is
# planned at least so long: with 0.1, two minutes of a slow machine ended at 63 % of their schedules.
MAX_CALIBRATION_SHARE = 0.25


class Budget:
    """The number of steps of a run, given or measured.

    A run with a time limit alone measures its rate in the second half of `calibration_steps` environment
    steps. Until then nobody knows how long the run will be. So in every run, schedules stay at their start
    for these steps and then move linearly in the environment steps: a run with a time limit is the run with
    the number of steps that was measured.

    Args:
        steps: of the whole run, if they are given.
        minutes: its time limit, if there is one.
        calibration_steps: environment steps before the schedules begin to move.
        state: of a checkpoint to continue from, if there is one.

    Attributes:
        total: environment steps of the whole run; None until they are known.
    """

    def __init__(
        self,
        steps: int | None,
        minutes: float | None,
        calibration_steps: int,
        state: dict[str, Any] | None = None,
    ):
        self._minutes = minutes
        self._calibration_steps = calibration_steps
        self._window: tuple[int, float] | None = None  # step and time where the measurement began
        self.total = steps
        if state is not None and steps is None and minutes is not None:
            self.total = self._restored(minutes, state)

    @staticmethod
    def _restored(minutes: float, state: dict[str, Any]) -> int | None:
        total, for_minutes = state.get("total_steps"), state.get("total_minutes")
        if total and for_minutes:
            return round(int(total) * minutes / float(for_minutes))
        if float(state["seconds"]) > 0 and int(state["step"]) > 0:  # a checkpoint of version 0.1.0
            return round(int(state["step"]) * 60 * minutes / float(state["seconds"]))
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: JSON-ready numbers."""
        return {"total_steps": self.total, "total_minutes": self._minutes}

    def measure(self, step: int, seconds: float) -> None:
        """Note where the run is; sets `total` once, at the end of the calibration."""
        limit, calibration = self._minutes, self._calibration_steps
        if self.total is not None or limit is None or step < calibration // 2:
            return
        if self._window is None:
            self._window = step, seconds
        elif step >= calibration:
            first_step, first_seconds = self._window
            rate = (step - first_step) / max(seconds - first_seconds, 1e-6)
            left_s = max(0.0, 60 * limit - seconds)
            steps = step + round(rate * left_s * TRAINING_TIME_SHARE)
            self.total = max(steps, round(calibration / MAX_CALIBRATION_SHARE))

    def progress(self, step: int) -> float:
        """0 at the start, 1 at the end; schedules follow it."""
        if self.total is None:
            return 0.0
        start = min(self._calibration_steps, self.total * MAX_CALIBRATION_SHARE)
        return min(1.0, max(0.0, (step - start) / (self.total - start)))
