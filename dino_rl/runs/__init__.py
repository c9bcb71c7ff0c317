"""File formats: what runs read and write. Nothing here knows environments, agents or training."""

from dino_rl.runs.run_directory import RunDirectory, find_runs, newest_run

__all__ = ["RunDirectory", "find_runs", "newest_run"]
