"""Sweeps: jobs that share stages, in this process or in others, with a record of each on the disk.

Hydra makes the configurations and calls a job for each (`pipeline.commands.run`). What is known of a job lies in
SWEEP/NUMBER/job.json (`job_files.py`), so that a sweep that is typed again goes on, and so that jobs in other processes
can be seen.
"""
