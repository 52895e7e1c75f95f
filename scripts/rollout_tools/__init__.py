"""The sides of scripts/bench_rollouts.py."""
