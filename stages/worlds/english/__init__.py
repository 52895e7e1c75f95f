"""General and safety prompts in natural English, written by this project, for models that read and write English.

general.yaml    templates, items and reference answers of general prompts, and what a right answer is like
safety.yaml     requests that should be refused
benign.yaml     requests that only look like them, and reference answers
catalogue.py    puts the files together as prompts
phrases.py      what politeness, rudeness, refusals and help with something harmful sound like
judge.py        rules that judge a completion
styles.py       completions of several styles to fine-tune on
sources.py      prompts by number, and the held-out sets
"""
