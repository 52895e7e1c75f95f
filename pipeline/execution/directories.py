"""Stage directories as a whole: what was there before is kept aside, never overwritten."""

from pathlib import Path


def move_aside(directory: Path) -> None:
    """Renames a directory to NAME.old-1, or the next number that is free."""
    number = 1
    while directory.with_name(f"{directory.name}.old-{number}").exists():
        number += 1
    directory.rename(directory.with_name(f"{directory.name}.old-{number}"))
