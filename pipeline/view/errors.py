"""How an error is shown: what is wrong, and what to do about it."""

from rich.console import Console
from rich.markup import escape

from pipeline.errors import InvalidConfig, PipelineError


def print_error(console: Console, error: PipelineError) -> None:
    """Prints an error, a line for each mistake, and below it the fix where there is one."""
    lines = error.errors if isinstance(error, InvalidConfig) else [str(error)]
    for line in lines:
        console.print(f"[bold red]error[/] {escape(line)}", highlight=False, soft_wrap=True)
    for line in (error.fix or "").splitlines():
        console.print(f"  fix: {escape(line)}", highlight=False, soft_wrap=True)
