"""Data from outside, and which prompts a stage gets.

hub.py               finds a source: a file or directory here, or a fetched set of the hub
file_selection.py    chooses its files: the training split where splits are named
file_kinds.py        says what a file really is by its first bytes
readers.py           reads raw rows one at a time, with text_readers.py and table_readers.py for each kind of file
json_forms.py        says how rows stand in JSON of another form, and how to convert it
adapters/            make rows of published sets whose columns need more than a name
mapping.py           turns a raw row into a Row by the columns that a source names, or says why it cannot
cells.py chats.py    read a cell as what it is: text, a number, a chat, content parts; or refuse it by its name
malformed.py         how a row that cannot be used is recorded
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
