"""Reads and compares final answers to mathematical problems.

An answer is read as a whole or not at all. The steps, each in a file of its own, from text to verdict:

    characters.py   Unicode, wrappers and Chinese words become LaTeX and English words
    tokens.py       text becomes tokens: numbers, letters, commands, words
    prose.py        words become signs ("negative 3" is -3), lead-ins fall away; what is left over is unreadable
    units.py        units of measure and what they are multiples of
    structure.py    tokens become a reading: lists, tuples, intervals, sets, equations, ratios, times, values with units
    formulas.py     the formulas in it become sympy expressions, with the parser of Math-Verify
    numeric.py      expressions are compared at random points, which is fast
    comparing.py    a reading of the answer is compared with that of the reference, each by its kind
    relations.py    equations and inequalities are compared by what solves them
    regions.py      intervals, inequalities and sets of numbers are compared as parts of the line
"""
