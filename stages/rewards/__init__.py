"""Rewards of completions.

grading.py               the table of verifiers, and grading in batches
verifiers/               grade a final answer against the prompt's reference
rules/                   measure a completion without a reference: format, language, length, repetition
pool.py pool_server.py   worker processes with hard limits, for checks that may hang or crash
"""
