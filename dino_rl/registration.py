"""Registers `ChromeDino-v0` with Gymnasium, as soon as both this package and Gymnasium are imported.

`import dino_rl` does not import Gymnasium for it: the command line imports this package, too, and `--help`
would take three times as long.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

DINO_ID: Final = "ChromeDino-v0"


def register_with_gymnasium() -> None:
    """Register now if Gymnasium is imported already, else when it is."""
    if "gymnasium" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _AfterGymnasium())


def _register() -> None:
    import gymnasium

    if DINO_ID not in gymnasium.registry:
        gymnasium.register(
            id=DINO_ID,
            entry_point="dino_rl.envs.dino.env:DinoEnv",
            vector_entry_point="dino_rl.envs.dino.env:DinoVectorEnv",
        )


class _AfterGymnasium:
    """A finder of `sys.meta_path`: finds Gymnasium as the others do, and registers after it was executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gymnasium":
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            with suppress(ValueError):
                sys.meta_path.remove(self)
            _register()

        # On this loader only, so that it stays of its own class, which other libraries ask for.
        setattr(spec.loader, "exec_module", execute_and_register)  # noqa: B010
        return spec
