"""Worlds that the recipe generates itself: prompts, a corpus to pretrain a base model on, and a tokenizer.

base.py           the interface of a world
tiny_world/       arithmetic and short conversations in English and Chinese, learnable by half a million parameters
reasoning_gym/    problem families of the reasoning-gym library
english/          general and safety prompts in natural English, for models that read it
"""
