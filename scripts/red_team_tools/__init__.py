"""The search of scripts/red_team.py for a wrong answer that a verifier pays.

numbers.py       numbers, other numbers, and ways to write them
sentences.py     texts that hold the right number and mean something else, in many languages
expressions.py   formulas, tuples, sets, intervals and equations, and wrong ones
words.py         letters of options and exact texts, and wrong ones
wrappers.py      what can stand around an answer
search.py        draws wrong answers, grades them, and tells which were paid
"""
