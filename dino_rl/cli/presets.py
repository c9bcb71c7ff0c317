"""`presets`: list the recipes, or print one in full."""

import argparse

HELP = "list the recipes, or print one in full"
DESCRIPTION = (
    "List the recipes, or print one in full as YAML: each field with its value and its meaning. Save it, "
    "change it, and train with --config FILE; or change single fields with --set, for example "
    "--set dqn.learning_rate=1e-3."
)


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the recipe to print")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from rich.table import Table

    from dino_rl.config import to_yaml
    from dino_rl.presets import preset, recipes
    from dino_rl.terminal import console

    if options.name:
        print(to_yaml(preset(options.name)), end="")
        return 0
    table = Table("preset", "environment", "engine", "algorithm", "length", box=None, pad_edge=False)
    for name, config in recipes().items():
        length = []
        if config.run.steps:
            length.append(f"{config.run.steps:,} steps")
        if config.run.minutes:
            length.append(f"{config.run.minutes:g} minutes")
        table.add_row(name, config.env.id or "any", config.engine, config.algo, ", ".join(length))
    console.print(table, width=None if console.is_terminal else 200)
    return 0
