"""Worlds that the recipe generates itself: prompts, a corpus to pretrain on, a tokenizer."""
