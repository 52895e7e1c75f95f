"""Carries a plan out: lock, launch, guard, stop, sweep, Prefect flow."""
