"""`doctor`: check everything that a run needs."""

import argparse
import json
from dataclasses import asdict

from dino_rl.errors import EXIT_DONE, EXIT_USER
from dino_rl.verbosity import verbosity

HELP = "check everything that a run needs"
DESCRIPTION = (
    "Check Python, packages, browser, TensorFlow and the machine: each line says what is there, or what to "
    "do. Takes some seconds. The exit code is 2 if something is wrong."
)


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.checks import all_checks

    # Plain text: rich, which formats the rest, may be what is missing.
    checks = []
    for check in all_checks():
        checks.append(check)
        if not options.json and not (verbosity.quiet and check.status == "ok"):
            print(f"{check.status:<8} {check.name:<12} {check.text}", flush=True)
    problems = sum(check.status == "problem" for check in checks)
    if options.json:
        print(json.dumps({"ok": not problems, "checks": [asdict(check) for check in checks]}, indent=2))
    elif problems:
        print(f"\n{problems} {'problem' if problems == 1 else 'problems'}: see above for what to do.")
    else:
        print("\nEverything that a run needs is here.")
    return EXIT_USER if problems else EXIT_DONE
