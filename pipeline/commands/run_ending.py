"""What `run` says at its end: what was reached, beside the shape of the paper's results, and what to type next."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from pipeline.configuration.graph import FAMILIES, STAGES, family_of
from pipeline.planning.command_line import command, run_words
from pipeline.planning.plan import Plan, Step
from pipeline.view.scores import print_scores
from stages.contract.manifest import Manifest
from stages.contract.results import Comparison, Result, find_comparisons, find_results

if TYPE_CHECKING:
    from pipeline.report.results import Column


def print_end(plan: Plan, console: Console) -> None:
    """Prints the scores, then five lines: the result, the recipe, the paper, the report, and what to type next.

    Without an evaluation of several models there is no result to speak of, and the first three are missing.

    Args:
        plan: What was carried out.
        console: Where it goes.
    """
    evaluation = next((step.dir for step in plan.steps if step.kind == "evaluate"), None)
    if evaluation is not None:
        _print_table(evaluation, console)
        for head, text in what_was_reached(find_results(evaluation), find_comparisons(evaluation)):
            console.print(f"{head:8} {escape(text)}", highlight=False, soft_wrap=True)
    report = plan.config.run_dir / "report.html"
    if report.exists() and any(step.stage == "report" for step in plan.steps):
        console.print(f"report:  {escape(str(report))}", highlight=False, soft_wrap=True)
    console.print(f"next:    {escape(next_command(plan))}", highlight=False, soft_wrap=True)


def _print_table(evaluation: Path, console: Console) -> None:
    manifest = Manifest.find(evaluation)
    if manifest is not None:
        print_scores(console, manifest.metrics)


def next_command(plan: Plan) -> str:
    """The rest of the recipe where the report is not there yet; else a talk with the last model of it."""
    if all(step.stage != "report" for step in plan.steps):
        return command(plan.config, "all")
    models = [step.stage for step in plan.steps if _is_of_recipe(step)]
    stage = f" --stage {models[-1]}" if models else ""
    return f"python -m pipeline chat {run_words(plan.config.run_dir)}{stage}"


def _is_of_recipe(step: Step) -> bool:
    return step.kind in ("grpo", "sft") and family_of(step.stage) not in FAMILIES


def what_was_reached(results: Sequence[Result], comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    """(heading, sentence) of the result, the recipe stage by stage, and the paper beside it; as far as was measured.

    Args:
        results: the rows of results.json.
        comparisons: the rows of comparisons.json.
    """
    from pipeline.report import results as reading  # loads the parts of the page, which nothing else here needs
    from pipeline.report import stage_table
    from pipeline.report.names import stage_name

    columns = reading.columns(results)
    column = next((one for one in columns if one.metric == "pass@1"), None)
    if column is None or len(column.cells) < 2:
        return []
    models = [model for model in reading.models([column]) if family_of(model) in STAGES]
    teachers = [model for model in models if family_of(model) not in FAMILIES]
    label = {model: stage_name(model).label for model in models}
    value = {model: column.text(column.cells[model].value) for model in models}
    lines = []
    if len(teachers) > 1:
        last, first = teachers[-1], teachers[0]
        gain = _gain(column, last, first, comparisons)
        text = f"{label[last]} {value[last]} on {column.set_name} (pass@1, %), {label[first]} {value[first]}: {gain}"
        lines.append(("result:", text))
    students = [model for model in models if model not in teachers]
    groups = [", ".join(f"{label[model]} {value[model]}" for model in group) for group in (teachers, students) if group]
    lines.append(("recipe:", "; ".join(groups)))
    table = stage_table.rows(columns)
    if table:
        lines.append(("paper:", _paper(table, comparisons)))
    return lines


def _gain(column: "Column", model: str, against: str, comparisons: Sequence[Comparison]) -> str:
    """By how many points one model is ahead of another, with the interval of the paired test where there is one."""
    points = 100 * (column.cells[model].value - column.cells[against].value)
    for row in comparisons:
        if row["metric"] != "pass@1" or row["set"] != column.set_name:
            continue
        if (row["model"], row["against"]) == (model, against):
            return f"{points:+.1f} points [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        if (row["against"], row["model"]) == (model, against):
            return f"{points:+.1f} points [{-100 * row['high']:+.1f}, {-100 * row['low']:+.1f}]"
    return f"{points:+.1f} points"


def _paper(table: list[dict], comparisons: Sequence[Comparison]) -> str:
    from pipeline.report import stage_table
    from pipeline.report.names import stage_name

    first = table[0]
    numbers = ", ".join(
        f"{stage_name(stage).label} {value:.1f}"
        for stage, value in zip(stage_table.STAGES, first["values"])
        if value is not None
    )
    claims = stage_table.shape(table, comparisons)
    ours = sum(claim["verdict"] == "agrees" for claim in claims)
    other = sum(claim["verdict"] == "differs" for claim in claims)
    name = first["paper"].split(",")[0]
    return f"{name}: {numbers}; of {len(claims)} changes {ours} go its way here, {other} the other, the rest is noise"
