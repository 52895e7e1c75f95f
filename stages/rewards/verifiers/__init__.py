"""Verifiers: each module grades answers of one form against a reference. The table: `stages/rewards/grading.py`."""
