"""What the backup job does to a backup, from the snapshot to the end of its time."""
