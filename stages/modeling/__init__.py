"""The model as a function: packed batches, attention, log-probabilities, losses, reward heads."""
