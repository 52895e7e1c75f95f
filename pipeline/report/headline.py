"""The report's first lines: what the run has reached, in one sentence. Pure functions of what `read` found."""

from collections import Counter
from collections.abc import Callable, Sequence

from pipeline.configuration.graph import FAMILIES, family_of
from pipeline.report.names import set_label, stage_name, stage_order
from pipeline.report.read import RunRecord
from pipeline.report.results import Column, paired
from pipeline.report.set_tables import JUDGED
from stages.contract.results import Comparison

MAX_STUDENTS = 3  # more of them are in the table only
ROOTS = ("base", "student_base")


def headline(
    found: list[Column], comparisons: Sequence[Comparison], parent: Callable[[str], str | None], claims: list[dict]
) -> list[str]:
    """What the evaluation says of the recipe's model and of its students, each beside what it began from.

    Args:
        found: The columns of the results.
        comparisons: The rows of comparisons.json.
        parent: The model that a stage started from, as the evaluation calls it; None where it started from none.
        claims: What `stage_table.shape` says of the recipe beside the paper.

    Returns:
        Sentences, the most important first; none where nothing was measured.
    """
    column = main_column(found)
    if column is None:
        return []
    models = sorted(column.cells, key=stage_order)
    trained = [model for model in models if family_of(model) not in ROOTS]
    teachers = [model for model in trained if family_of(model) not in FAMILIES]
    students = [model for model in trained if family_of(model) in FAMILIES]
    shown = teachers[-1:] + students[:MAX_STUDENTS] or models[-1:]
    root = _root(shown[0], column, parent)
    lines = [_change(column, model, _root(model, column, parent), comparisons) for model in shown]
    return lines + _mean_of_sets(found, shown[0], root) + _agreement(claims)


def about(found: list[Column], lines: list[str]) -> str:
    """What the numbers of the headline are, whose `lines` are given."""
    column = main_column(found)
    if column is None:
        return ""
    unit = " in percent" if column.is_share else ""
    interval = "; in brackets the 95% interval of the change" if any("[" in line for line in lines) else ""
    return f"{column.label}{unit} on {set_label(column.set_name)}{interval}"


def main_column(found: list[Column]) -> Column | None:
    """The number that the headline is about: the first pass@1, else the first number there is."""
    return next((column for column in found if column.metric == "pass@1"), found[0] if found else None)


def _root(model: str, column: Column, parent: Callable[[str], str | None]) -> str | None:
    """The first model of the chain that ends in this one, as far as it was measured.

    Of models that no stage has made, which are compared with one another, it is the first one.
    """
    root, name, seen = None, parent(model), {model}
    while name is not None and name not in seen:
        seen.add(name)
        root = name if name in column.cells else root
        name = parent(name)
    if root is None:
        first = min(column.cells, key=stage_order)
        root = first if first != model and family_of(model) not in FAMILIES else None
    return root


def _change(column: Column, model: str, root: str | None, comparisons: Sequence[Comparison]) -> str:
    after = column.cells[model].value
    text = f"{stage_name(model).label} {column.text(after)}"
    if root is None:
        return text
    before = column.cells[root].value
    pair = paired(column, model, root, comparisons)
    interval = f" [{column.signed(pair['low'])}, {column.signed(pair['high'])}]" if pair else ""
    root_label = stage_name(root).label.lower() if family_of(root) in ROOTS else stage_name(root).label
    return f"{text}, {root_label} {column.text(before)}: {column.change(after - before)}{interval}"


def _mean_of_sets(found: list[Column], model: str, root: str | None) -> list[str]:
    """The mean over all sets that a verifier grades, where there are several: one of them says little of the others."""
    columns = [one for one in found if one.metric == "pass@1" and not one.set_name.endswith(JUDGED)]
    columns = [one for one in columns if model in one.cells and (root is None or root in one.cells)]
    if len(columns) < 2:
        return []
    means = {
        name: sum(one.cells[name].value for one in columns) / len(columns) for name in (model, root) if name is not None
    }
    column = columns[0]
    text = f"mean of {len(columns)} sets: {stage_name(model).label} {column.text(means[model])}"
    if root is None:
        return [text]
    change = column.change(means[model] - means[root])
    return [f"{text}, {stage_name(root).label} {column.text(means[root])}: {change}"]


def _agreement(claims: list[dict]) -> list[str]:
    if not claims:
        return []
    agree = Counter(claim["verdict"] for claim in claims)["agrees"]
    return [f"{agree} of {len(claims)} changes from stage to stage go the paper's way beyond the noise"]


def progress(run: RunRecord) -> str:
    """Where an unfinished run stands: the stage that was worked on last, its step, its last reward or loss."""
    unfinished = [stage for stage in run.stages.values() if stage.status in ("incomplete", "failed")]
    if not unfinished:
        return ""
    stage = max(unfinished, key=lambda one: one.progress.updated if one.progress and one.progress.updated else 0)
    parts = [stage_name(stage.name).label]
    if stage.progress and stage.progress.num_steps:
        parts.append(f"step {stage.progress.step:,} of {stage.progress.num_steps:,}")
    last = stage.metrics[-1] if stage.metrics else {}
    for metric, name in (("reward/mean", "reward"), ("reward/accuracy", "accuracy"), ("train/loss", "loss")):
        value = last.get(metric)
        if isinstance(value, (int, float)) and not (metric == "train/loss" and "reward/mean" in last):
            parts.append(f"{name} {value:.3g}")
    return ", ".join(parts)
