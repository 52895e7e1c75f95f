"""What people see on the terminal: the live view of a run, errors, and amounts in words."""
