"""The command line: one file per command, with its options and what it does.

Nothing heavy is imported at the top of these files: `--help` answers at once, and a wrong option is refused
before anything starts.
"""
