"""Trackers: metrics, completions, alarms and the report go to wandb, trackio, mlflow or TensorBoard while stages run.

Each tracker lives in a process of its own (`process.py`), which reads the files of the stage directory as they grow.
The driver only tells it which stage has begun or ended (`trackers.py`), so that nothing ever waits for a tracker, and
what one has missed it reads later: what it has been sent is noted in the stage directory (`cursor.py`).
"""
