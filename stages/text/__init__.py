"""Pure functions on text: they find the parts of a completion and its final answer, and measure its language and style.

completion.py    the chain of thought and the answer in their tags
answers.py       the text of the final answer
statements.py    the statement of the answer in a solution
integers.py      the integer that a text names
language.py      the language of a text, and how consistently it is written in one
words.py         what of a text is words, and in which script
normal_form.py   the form in which texts are compared
readability.py   long paragraphs and blocks of code
repetition.py    repeated n-grams
reflection.py    words that show reflection ("wait", "check")
"""
