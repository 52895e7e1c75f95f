"""Decides what a run will do: fingerprints, the plan, estimates, and checks before anything is launched."""
