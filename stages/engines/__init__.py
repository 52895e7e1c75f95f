"""The engines behind small doors: DeepSpeed trains, vLLM or transformers samples, checkpoints and exports go to disk."""
