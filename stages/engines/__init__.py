"""The engines behind small interfaces: DeepSpeed trains, vLLM or transformers samples, weights go to disk."""
