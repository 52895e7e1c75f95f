"""Data from outside.

readers.py, hub.py      files, directories and fetched hub names -> raw rows, one at a time
adapters/               published sets whose columns need more than a name
mapping.py              a raw row and the meaning of its columns -> a Row, or why it is none
rows.py                 the three together: the rows of a source, with every malformed one counted
split.py                which prompts are held out
file_prompts.py         rows as prompts, drawn by number from a mixture
pairs.py                rows as SFT pairs, preference pairs and safety labels
__main__.py             `python -m stages.data inspect|prepare|fetch`, which the driver's command `data` starts
inspect.py prepare.py   what it does; filters.py, duplicates.py, contamination.py, pass_rate.py, card.py are the rooms
                        of prepare
"""
