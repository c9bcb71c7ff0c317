"""Gymnasium environments other than the Dino, prepared for an agent: vectors as they are, images stacked."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated

import gymnasium
import numpy as np
from annotated_types import Ge, Interval
from gymnasium import spaces, wrappers
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dino_rl.display import has_display
from dino_rl.errors import DinoError, first_line

# What to install for environments whose entry point begins so.
PACKAGES = {
    "ale_py": "ale-py",
    "gymnasium.envs.box2d": "box2d pygame-ce",
    "gymnasium.envs.classic_control": "pygame-ce",
    "gymnasium.envs.mujoco": "mujoco",
}
# Frames without a display, and without messages about it.
SDL = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
ATARI = "ale_py.env:AtariEnv"
ACTION_NAMES = {
    "CartPole-v1": ("left", "right"),
    "Acrobot-v1": ("torque -1", "torque 0", "torque +1"),
    "LunarLander-v3": ("nothing", "left engine", "main engine", "right engine"),
}


@dataclass(frozen=True)
class GymConfig:
    """How a Gymnasium environment with discrete actions is made."""

    id: str = ""
    """Gymnasium's id; "module:id" imports the module first. Empty in a recipe for any environment."""
    num_envs: Annotated[int, Interval(ge=1, le=4096)] = 8
    """Environments that step together."""
    greedy_envs: Annotated[int, Ge(0)] = 0
    """Of these, how many never explore."""
    stack_size: Annotated[int, Interval(ge=1, le=64)] = 4
    """Frames in an observation; vectors are not stacked."""
    frame_size: Annotated[int, Interval(ge=8, le=1024)] = 84
    """Side of the square that images are resized to, in pixels (Mnih et al. 2015)."""
    terminal_on_life_loss: bool = False
    """In training, a lost life ends an episode's value, though the game continues (Mnih et al. 2015)."""


def make_vector(
    config: GymConfig,
    num_envs: int,
    autoreset_mode: AutoresetMode,
    render_mode: str | None = None,
    training: bool = False,
) -> SyncVectorEnv:
    """`num_envs` environments side by side; the last of them is the one that is rendered.

    Raises:
        DinoError: the environment is unknown or not installed, no agent here can learn it, or there is no
            display for a window.
    """
    if render_mode == "human" and not has_display():
        raise DinoError(f"There is no display for the window of {config.id}: set DISPLAY, or use --headless.")
    modes = [None] * (num_envs - 1) + [render_mode]
    makers: list[Callable] = [partial(_make_one, config, mode, training) for mode in modes]
    return SyncVectorEnv(makers, autoreset_mode=autoreset_mode)


def spec_of(env_id: str) -> gymnasium.envs.registration.EnvSpec:
    """Gymnasium's registration of an id ("module:id" imports the module first).

    Raises:
        DinoError: nothing is registered under this id, or its package is not installed.
    """
    module, colon, name = env_id.rpartition(":")
    try:
        if env_id.startswith("ALE/"):
            _register_atari()
        if colon:
            if not all(map(str.isidentifier, module.split("."))):
                raise DinoError(f"Unknown environment {env_id!r}: {module!r} is no name of a module.")
            import_module(module)
        return gymnasium.spec(name)
    except ImportError as error:
        raise DinoError(f"{env_id} needs {_remedy(error, module)}") from error
    except gymnasium.error.Error as error:
        raise DinoError(f"Unknown environment {env_id!r} ({first_line(error)})") from error


def _remedy(error: ImportError, module: str) -> str:
    """What is missing and how to get it. A package of an unknown name may be a stranger's: no advice to
    install it."""
    missing = error.name or ""
    if missing in PACKAGES:
        return f"a package that is not installed: pip install {PACKAGES[missing]}"
    if missing and missing == module.partition(".")[0]:
        return (
            f"the module {missing}, which is not found: install what provides it, or run this in the "
            f"directory of {missing}.py (with --trust if a model or a run names it)."
        )
    return f"something that cannot be imported ({first_line(error)}): install it."


def kind_of(env_id: str) -> str:
    """The kind of an environment's observations: "vectors" or "images".

    Raises:
        DinoError: see `make_vector`.
    """
    env = _open(spec_of(env_id))
    env.close()
    return "images" if _is_image(env.observation_space) else "vectors"


def action_names(env: SyncVectorEnv, env_id: str) -> tuple[str, ...]:
    """A name for each action; "action 0" and so on where none is known."""
    if spec_of(env_id).entry_point == ATARI:
        return tuple(name.lower() for name in env.call("get_action_meanings")[0])
    count = int(env.single_action_space.n)  # type: ignore[attr-defined]
    return ACTION_NAMES.get(env_id, tuple(f"action {i}" for i in range(count)))


def versions(env_id: str) -> dict[str, str]:
    """Versions of the packages that provide an environment, beside Gymnasium itself."""
    found = {}
    for name in _package(spec_of(env_id)).split():
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _make_one(config: GymConfig, render_mode: str | None, training: bool) -> gymnasium.Env:
    spec = spec_of(config.id)
    is_atari = spec.entry_point == ATARI
    env = _open(spec, render_mode=render_mode, **({"frameskip": 1} if is_atari else {}))
    shown = env.observation_space
    assert isinstance(shown, spaces.Box), "others are refused by _open"
    if not _is_image(shown):
        if shown.dtype == np.float32:
            return env
        low, high = shown.low.astype(np.float32), shown.high.astype(np.float32)
        return wrappers.TransformObservation(env, np.float32, spaces.Box(low, high))
    import cv2

    # Frames are small: threads cost more than they save, most of all on a busy machine.
    cv2.setNumThreads(1)
    size = config.frame_size
    if is_atari:  # four frames a step, the maximum of the last two, up to 30 no-ops at the start
        env = wrappers.AtariPreprocessing(env, screen_size=size)
        # The console draws 60 frames a second, all of which are rendered; ale-py's 30 would halve the speed.
        env.metadata = {**env.metadata, "render_fps": 60}
    else:
        height, width, colours = shown.shape
        if colours == 3:
            env = wrappers.GrayscaleObservation(env)
        else:
            env = wrappers.ReshapeObservation(env, (height, width))
        env = wrappers.ResizeObservation(env, (size, size))
    if training and config.terminal_on_life_loss:
        env = LifeLoss(env)
    env = wrappers.FrameStackObservation(env, config.stack_size, padding_type="reset")
    stacked = spaces.Box(0, 255, (size, size, config.stack_size), np.uint8)
    return wrappers.TransformObservation(env, lambda stack: np.moveaxis(stack, 0, -1), stacked)


class LifeLoss(gymnasium.Wrapper):
    """Reports in `info["life_lost"]` whether this step cost a life. The game continues."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._lives = 0

    def reset(self, **options):
        observation, info = self.env.reset(**options)
        self._lives = info.get("lives", 0)
        return observation, info | {"life_lost": False}

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        before, self._lives = self._lives, info.get("lives", 0)
        return observation, reward, terminated, truncated, info | {"life_lost": self._lives < before}


def _open(
    spec: gymnasium.envs.registration.EnvSpec, render_mode: str | None = None, **options
) -> gymnasium.Env:
    """The bare environment.

    Raises:
        DinoError: it cannot be made, or no agent here can learn it.
    """
    package = _package(spec)
    if render_mode and "pygame" in package and not find_spec("pygame"):
        raise DinoError(f"To show {spec.id}, pygame is needed: pip install pygame-ce")
    for name, value in SDL.items() if not has_display() else ():
        os.environ.setdefault(name, value)
    if render_mode:  # an environment that is never shown need not take the argument
        options["render_mode"] = render_mode
    try:
        env = gymnasium.make(spec, disable_env_checker=True, **options)
    except TypeError as error:
        if not (render_mode and "render_mode" in str(error)):
            raise
        raise DinoError(f"{spec.id} cannot be shown: it takes no render_mode.") from error
    except (ImportError, gymnasium.error.Error) as error:
        remedy = f"pip install {package}" if package else "install what it asks for."
        raise DinoError(f"{spec.id} cannot be made ({first_line(error)}): {remedy}") from error
    problem = _problem(env)
    if problem:
        env.close()
        raise DinoError(f"{spec.id} cannot be learned here: {problem}")
    return env


def _problem(env: gymnasium.Env) -> str:
    """Why no agent here can learn an environment; empty if one can."""
    shown, action = env.observation_space, env.action_space
    if isinstance(action, spaces.Box):
        return f"its actions are continuous ({action}); use one with discrete actions."
    if not isinstance(action, spaces.Discrete) or action.start != 0:
        return f"its actions are {action}; use one with Discrete(n)."
    if not isinstance(shown, spaces.Box):
        return f"its observations are {shown}; use one with a vector or an image (Box)."
    if len(shown.shape) != 1 and not _is_image(shown):
        return f"its observations are {shown}; use a vector, or a uint8 image with 1 or 3 channels."
    return ""


def _is_image(space: spaces.Space) -> bool:
    return (
        isinstance(space, spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[-1] in (1, 3)
    )


def _package(spec: gymnasium.envs.registration.EnvSpec) -> str:
    return next((name for start, name in PACKAGES.items() if str(spec.entry_point).startswith(start)), "")


def _register_atari():
    """Importing ale_py registers its games, and prints its version unless its log level is lower."""
    import ale_py

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)
