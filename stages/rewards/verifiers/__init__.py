"""Verifiers: each module grades answers of one form against a reference (`stages/rewards/grading.py` has the table)."""
