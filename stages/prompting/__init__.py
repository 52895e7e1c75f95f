"""Prompts as data, the templates around them, and the way to and from token ids."""
