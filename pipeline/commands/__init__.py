"""The command line: one module for each command of `r1`, and what they share."""
