"""The tiny world: arithmetic and short conversations in English and Chinese, with its corpus, tokenizer and judge."""
