"""The rooms of `stages/collect.py`: filters, judging and refining, general pairs, human review, the data card, and records that survive a kill."""
