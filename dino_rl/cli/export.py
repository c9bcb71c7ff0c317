"""`export`: write a model for use without Python."""

import argparse
from pathlib import Path

from dino_rl.cli import options as shared
from dino_rl.errors import DinoError

HELP = "write a model as JavaScript that plays in a browser, or as ONNX"
DESCRIPTION = """
Write a trained model for use without Python. player.js is one file that plays Chrome's Dino: open chrome://dino
and its developer tools, and paste the file into the console. player.mjs is the same as a module with an
`export` statement. model.onnx is the network alone.
"""


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    shared.add_model(parser)
    parser.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="what to write: FILE.js, FILE.mjs or FILE.onnx"
    )
    parser.add_argument(
        "--weights",
        type=int,
        choices=[16, 32],
        default=16,
        help="bits of a weight in JavaScript (default: %(default)s); ONNX has 32",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    kind = options.to.suffix
    if kind not in (".js", ".mjs", ".onnx"):
        raise DinoError(f"--to {options.to}: name a file that ends in .js, .mjs or .onnx.")

    from dino_rl.player import load_player
    from dino_rl.runs.output import check_writable, write_text
    from dino_rl.terminal import Progress, console

    check_writable(options.to)
    if kind == ".onnx":
        from dino_rl.export.onnx_file import require_onnx, write_onnx

        require_onnx()
    with Progress("loading the model"):
        player = load_player(options.model, options.trust)
    if kind == ".onnx":
        with Progress("writing the network"):
            write_onnx(player, options.to)
        console.print(f"{options.to}: input `observation`, output `values`")
        return 0
    from dino_rl.export.javascript import player_js

    with Progress("writing the player"):
        write_text(options.to, player_js(player, options.weights, module=kind == ".mjs"))
    size = options.to.stat().st_size
    console.print(f"{options.to}: {size / 1e6:.1f} MB")
    if kind == ".js":
        console.print(
            "To watch it play: open chrome://dino and its developer tools, paste it into the console."
        )
    return 0
