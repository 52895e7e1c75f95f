"""The colour of each action of a plan and of each state of a stage."""

COLOURS = {
    "skip": "green",
    "reuse": "green",
    "done": "green",
    "resume": "yellow",
    "run": "cyan",
    "failed": "red",
    "interrupted": "yellow",
    "running": "cyan",
}
