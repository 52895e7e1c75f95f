"""Rewards: verifiers grade answers, rules measure completions, and a pool of processes runs what may hang."""
