"""Talk to models: the worker of the command `chat`, no kind of stage. `__main__.py` has its command line."""
