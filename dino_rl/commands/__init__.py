"""What each command does: options in, terminal and files out. One module a command."""
