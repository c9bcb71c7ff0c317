"""A page on loopback that shows a run as it happens: `train`, `play` and `evaluate` with `--dashboard`.

    run's thread                          server's thread
    show_run.py, watched.py  -> board.py ->  viewer.py -> server.py -> page/ in a browser

The run's thread writes the newest state to the board. Without a viewer it does no more than look at a number.
The server's thread sends each viewer what is new, as fast as that viewer reads.
"""
