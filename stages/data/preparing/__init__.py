"""Prepares data before training (`r1 data prepare`) and shows what is in it (`r1 data inspect`).

prepare.py         the steps of `data prepare`, from rows of all sources to one Parquet file
filters.py         filters that look at one row at a time
contamination.py   finds prompts that share words with an evaluation set
duplicates.py      finds exact and near duplicates
text_hashes.py     texts as arrays of hashes, for the two files above
lengths.py         measures texts in tokens or words
pass_rate.py       measures how often the current policy solves each prompt
card.py            describes a prepared file: the data card
inspect.py         shows what a source contains: `data inspect`
"""
