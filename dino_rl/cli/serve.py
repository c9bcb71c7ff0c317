"""`serve`: a page with the game and a trained agent in it."""

import argparse
import contextlib
import secrets
import socket
import threading

from dino_rl.cli import options as shared
from dino_rl.errors import DinoError

HELP = "serve a page in which a model plays, also for a phone or tablet"
DESCRIPTION = """
Serve a page with the game and the exported player in it, until Ctrl-C. The browser that opens the page does
the playing. The page is served to this machine only, unless --lan is given.
"""
PORT = 8765


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    shared.add_model(parser)
    add_address(parser)


def add_address(parser: argparse.ArgumentParser):
    """Where to serve."""
    parser.add_argument(
        "--port",
        type=shared.count,
        default=PORT,
        metavar="N",
        help="port to listen on (default: %(default)s)",
    )
    parser.add_argument(
        "--lan",
        action="store_true",
        help="serve it to all machines in the network, too, such as a phone in the same room",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    return serve(options, "/", "The model plays at")


def serve(options: argparse.Namespace, path: str, what: str) -> int:
    """Serve the game and the exported player until Ctrl-C.

    Args:
        options: of the command.
        path: of the page to print the address of.
        what: the sentence before that address.
    """
    from dino_rl.browser.chrome import Browser
    from dino_rl.browser.page import game_page
    from dino_rl.browser.server import PageServer
    from dino_rl.export.javascript import player_js
    from dino_rl.player import load_player
    from dino_rl.terminal import console

    source = player_js(load_player(options.model, options.trust))
    with Browser() as browser:
        page = game_page(browser)
    address = ("0.0.0.0" if options.lan else "127.0.0.1", options.port)
    try:
        server = PageServer(page, source, address, secrets.token_urlsafe(12))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DinoError(f"Cannot listen on port {options.port} ({reason}): choose another --port.") from error
    try:
        if options.lan:
            elsewhere = server.url.replace("127.0.0.1", _own_address())
            console.print(
                f"Warning: everyone in your network who has this address can open it: {elsewhere}{path}",
                style="yellow",
                soft_wrap=True,
            )
        console.print(f"{what} {server.url}{path} . Ctrl-C ends this.", soft_wrap=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    finally:
        server.close()
    return 0


def _own_address() -> str:
    """This machine's address in its network. A UDP socket knows it without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation (RFC 5737)
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
