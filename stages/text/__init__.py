"""Pure functions of text: the parts of a completion, its final answer, its language, how readable it is."""
