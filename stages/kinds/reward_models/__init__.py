"""The two reward models of the last RL stage: helpful (from pairs) and safety (from labels)."""
