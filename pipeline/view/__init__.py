"""What people see on the terminal: the live view of a run, the plan's table, errors, and words for amounts."""
