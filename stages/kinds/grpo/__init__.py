"""Reinforcement learning with GRPO: one loop for R1-Zero, reasoning RL and preference RL."""
