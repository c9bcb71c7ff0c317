"""Who does the work of a run: this process, actors on Ray, or RLlib. Ray is imported when it is asked for."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from dino_rl.errors import DinoError
from dino_rl.results.model import Model, Trained
from dino_rl.results.runs import model_of
from dino_rl.settings import RunSettings
from dino_rl.train import Trainer


def make_trainer(
    settings: RunSettings, run_dir: Path, resume: bool = False, watch: bool = False, trust: bool = False
) -> Trainer:
    """The trainer that the settings ask for, within `cluster_for` them.

    Args:
        settings, run_dir, resume, watch: as for `Trainer`.
        trust: resume RLlib's pickles even if they were not written on this account.

    Raises:
        DinoError: Ray is needed and not installed; and what `Trainer` raises.
    """
    if settings.engine == "rllib":
        from dino_rl.scale.rllib_trainer import RLlibTrainer

        return RLlibTrainer(settings, run_dir, resume, watch, trust)
    if settings.engine == "ray":
        from dino_rl.scale.apex import ApexTrainer

        return ApexTrainer(settings, run_dir, resume, watch)
    return Trainer(settings, run_dir, resume, watch)


def cluster_for(settings: RunSettings, address: str | None = None) -> AbstractContextManager[None]:
    """The Ray cluster that the settings need, if they do.

    Raises:
        DinoError: Ray is needed and not installed, or an address was given for nothing.
    """
    if settings.engine == "keras":
        if address:
            raise DinoError("--ray-address is for --engine ray or rllib: leave it out, or add one of them.")
        return nullcontext()
    from dino_rl.scale.cluster import cluster

    workers = settings.on_ray.actors if settings.engine == "ray" else settings.rllib.env_runners
    return cluster(address, workers)


def load_model(path: Path, trust: bool = False) -> Trained:
    """A model that was trained by any of them: an .h5 file, or the directory of a run for its best one.

    Args:
        trust: load RLlib's pickles even if they were not written on this account.

    Raises:
        ModelError: missing, damaged, unsafe, or not what its card says.
        RunError: a directory that is no run, or has no model yet.
    """
    found = model_of(path)
    if found.is_dir():
        from dino_rl.scale.rllib import RLlibModel

        return RLlibModel(found, trust)
    return Model(found)
