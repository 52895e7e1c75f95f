"""What people are told of a run whose stages are not of one piece."""

from pathlib import Path

from rich.console import Console

from pipeline.planning.whole import flaws


def print_flaws(run_dir: Path, console: Console) -> None:
    """Prints a line for each stage that does not belong to the others, then the commands of which any one mends it."""
    found = flaws(run_dir)
    for flaw in found:
        console.print(f"not of one piece: {flaw.message}", highlight=False, markup=False, soft_wrap=True)
    for number, command in enumerate(dict.fromkeys(command for flaw in found for command in flaw.mends)):
        line = f"  {'or' if number else 'mend'}: {command}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
