"""What every worker process needs: its stage directory, signals, heartbeats, deadlines, disk space and seeds."""
