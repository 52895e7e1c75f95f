"""Data from outside, and which prompts a stage gets.

readers.py hub.py    read raw rows from files, directories and fetched sets of the hub, one at a time
adapters/            make rows of published sets whose columns need more than a name
mapping.py           turns a raw row into a Row by the columns that a source names, or says why it cannot
rows.py              all three together: the rows of a source, with every malformed one counted
split.py             decides which prompts are held out
file_prompts.py      supplies rows as prompts, drawn by number from one source or a mixture
references.py        finds prompts whose reference their verifier cannot use
pairs.py             supplies rows as SFT pairs, preference pairs and safety labels
prompt_sources.py    chooses what supplies the prompts of a data configuration: a world or files
inputs.py            checks a stage's prompts, context and sandbox before any engine starts
preparing/           filters, deduplicates and describes data: `data inspect` and `data prepare`
__main__.py          the worker that the driver's command `data` starts
"""
