"""Prompts as plain data, the templates that a model sees them in, and the conversion to and from token ids."""
