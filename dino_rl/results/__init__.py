"""What a run leaves behind: checkpoints, logs, plots."""
