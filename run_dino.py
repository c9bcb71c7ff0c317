"""Train, play, evaluate: `python run_dino.py --help`.

With a Python that lacks the packages, it starts itself again with that of `.venv`. Standard library only, and
no syntax newer than Python 3.6, so that any Python can do that or say in one line what to do.
"""

import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
NEEDED = ("tensorflow", "keras", "gymnasium", "selenium", "pydantic", "rich")
STARTED_AGAIN = "DINO_RL_STARTED_AGAIN"


def start():
    """Run the command line; returns its exit code."""
    again = os.environ.pop(STARTED_AGAIN, None)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing or sys.version_info < (3, 10):
        if not again and os.path.realpath(sys.prefix) != os.path.realpath(VENV):
            start_again()
        return refuse(missing)
    from dino_rl.cli.main import main

    return main()


def start_again():
    """Replace this process by one with the Python of `.venv`, if there is one that starts."""
    python = os.path.join(VENV, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
    command = [python, os.path.abspath(__file__), *sys.argv[1:]]
    os.environ[STARTED_AGAIN] = "1"
    try:
        if os.name == "nt":  # there, exec returns to the shell at once
            import subprocess

            sys.exit(subprocess.call(command))
        os.execv(python, command)
    except OSError:
        del os.environ[STARTED_AGAIN]


def refuse(missing):
    """Say what is wrong and what to do; returns the exit code."""
    is_old = sys.version_info < (3, 10)
    reason = "is too old" if is_old else "has no " + ", ".join(missing)
    print(
        f"dino-rl: Python {sys.version_info[0]}.{sys.version_info[1]} ({sys.executable}) {reason}: "
        "run `make setup`, or activate its environment with `. .venv/bin/activate`.",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(start())
