"""The parts of `scripts/gpu_check.py`: the work, our side, the peer's side, the report."""
