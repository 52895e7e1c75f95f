"""How a worker process ends, as whoever started it sees it."""

DONE = 0
FAILED = 1
BAD_INPUT = 64  # the user's data, model or configuration cannot be used, or a disk is full: error.json says what to do
INTERRUPTED = 75  # a stop was asked for; a checkpoint is written, and the same command continues from it
