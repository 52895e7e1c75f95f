"""Gathers all that the report shows, section by section, as plain data for the template."""

import datetime
from collections.abc import Callable
from typing import Any

from pipeline.configuration.graph import FAMILIES, family_of
from pipeline.planning.whole import flaws
from pipeline.report import emergence, figures, lineage, results, samples, stage_table, student_table, tables
from pipeline.report.glossary import EVALUATION, WORDS, Term, term_of
from pipeline.report.headline import about, headline, progress
from pipeline.report.names import stage_name
from pipeline.report.provenance import facts, origin
from pipeline.report.read import RunRecord, StageRecord
from pipeline.report.set_tables import set_tables
from pipeline.report.sweeps import leaderboards

NUM_KEY_FIGURES = 4
POLICY = "policy"  # the role of the model that a stage starts from


def build_context(run: RunRecord) -> dict[str, Any]:
    """The variables of `assets/report.html.j2`."""
    stages = list(run.stages.values())
    trained = [stage for stage in stages if stage.kind == "grpo"]
    evaluation = run.stages.get("evaluate") or StageRecord("evaluate", None)
    found = results.columns(evaluation.results)
    costs = tables.costs(stages)
    groups = _figure_groups(run, costs)
    key_figures = _take_key_figures(groups)
    beside = _beside_the_paper(run, evaluation, found)
    by_set = set_tables(found, evaluation, parents(run, evaluation))
    lines = headline(found, evaluation.comparisons, parents(run, evaluation), beside["shape"])
    return {
        **_head(run),
        **_results(evaluation, found),
        **beside,
        "sets": by_set,
        "headline": lines,
        "headline_about": about(found, lines),
        "leaderboards": leaderboards(run.path),
        "glossary": glossary(found),
        "key_figures": key_figures,
        **_samples(evaluation, trained),
        "stages": stages,
        "did": [
            what_it_did(found, stage, evaluation)
            for stage in stages
            if stage.status != "missing" and stage.name != "evaluate"
        ],
        "groups": groups,
        "figures": [
            *key_figures,
            *(figure for group in groups.values() for figure in group),
            *(figure for one in by_set for figure in one["figures"]),
        ],
        "legends": {
            kind: [stage_name(stage.name) for stage in stages if stage.kind == kind]
            for kind in ("grpo", "pretrain", "sft")
        },
        "words": emergence.word_table(trained),
        "first_words": emergence.first_words(trained),
        "costs": costs,
        "totals": tables.cost_totals(costs),
        "ledger": tables.ledger(stages, run.config),
        "lineage_graph": lineage.lineage_graph(run.stages),
        "lineage": tables.lineage_rows(stages),
        "final_metrics": [
            (stage_name(stage.name), tables.manifest_metrics(stage))
            for stage in stages
            if stage.name != "evaluate" and tables.manifest_metrics(stage)
        ],
        "configuration": tables.configuration(run),
        "stage_name": stage_name,
    }


def _head(run: RunRecord) -> dict[str, Any]:
    """The top of the page: what the run is, and what is wrong with it."""
    stages = list(run.stages.values())
    problems = [*run.problems, *(problem for stage in stages for problem in stage.problems)]
    return {
        "run": run,
        "now": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "facts": facts(run),
        "origin": origin(run),
        "progress": progress(run),
        "problems": problems + missing(stages) + mixed(run),
        "alarms": [(stage_name(stage.name), stage.alarms) for stage in stages if stage.alarms],
        "num_done": sum(stage.status == "done" for stage in stages),
    }


def _results(evaluation: StageRecord, found: list[results.Column]) -> dict[str, Any]:
    """The table of the evaluation."""
    return {
        "models": results.models(found),
        "result_notes": results.notes(evaluation.results),
        "levels": tables.level_tables(evaluation.results),
    }


def _beside_the_paper(run: RunRecord, evaluation: StageRecord, found: list[results.Column]) -> dict[str, Any]:
    """Stages and students beside the paper's tables."""
    stage_rows = stage_table.rows(found)
    stage_shape = stage_table.shape(stage_rows, evaluation.comparisons)
    students = student_table.students(found, run.config, run.stages)
    columns = student_table.columns(found, students)
    student_shape = student_table.shape(columns, students, evaluation.comparisons)
    return {
        "beside_the_paper": stage_rows,
        "paper_stages": [stage_name(stage) for stage in stage_table.STAGES],
        "shape": stage_shape,
        "shape_summary": stage_table.summary(stage_shape),
        "student_columns": [
            {"paper": benchmark.name, "ours": stage_table.label_of(column)} for benchmark, column in columns
        ],
        "student_rows": student_table.rows(columns, students),
        "student_shape": student_shape,
        "student_summary": stage_table.summary(student_shape, "comparisons of students"),
    }


def _samples(evaluation: StageRecord, trained: list[StageRecord]) -> dict[str, Any]:
    """Completions: of all models on the same prompts, and of each RL stage."""
    shown = samples.same_prompts(evaluation.samples)
    return {
        "samples": shown,
        "sample_models": list(dict.fromkeys(one["stage"].label for entry in shown for one in entry["completions"])),
        "training_samples": [
            (stage_name(stage.name), samples.training_samples(stage)) for stage in trained if stage.samples
        ],
    }


def _figure_groups(run: RunRecord, costs: list[dict]) -> dict[str, list[dict]]:
    """All figures, by the section that they stand in."""
    stages = list(run.stages.values())
    of_kind = {kind: [stage for stage in stages if stage.kind == kind] for kind in ("grpo", "pretrain", "sft")}
    trained = of_kind["grpo"]
    watched = [stage for stage in trained if any("watch/accuracy" in row for row in stage.metrics)]
    reward_models = run.stages.get("reward_models")
    accuracies = tables.reward_model_bars(reward_models)
    return {
        "r1": figures.step_figures(trained, figures.R1_PANELS, "r1"),
        "reward": figures.step_figures(trained, figures.REWARD_PANELS, "reward"),
        "policy": figures.step_figures(trained, figures.POLICY_PANELS, "policy"),
        "pretrain": figures.step_figures(of_kind["pretrain"], figures.LOSS_PANELS, "pretrain"),
        "sft": figures.step_figures(of_kind["sft"], figures.LOSS_PANELS, "sft"),
        "reward_models": figures.reward_model_figures(reward_models, accuracies),
        "cost": figures.time_figures(costs, stages),
        "words": emergence.word_figures(trained),
        "levels": emergence.level_figures(trained),
        "watch": figures.step_figures(watched, emergence.WATCH_PANELS, "watch"),
    }


def _take_key_figures(groups: dict[str, list[dict]]) -> list[dict]:
    """The charts that everybody looks at first, taken out of their groups; all others are folded.

    They are the paper's four curves of reinforcement learning; without such a stage, the first of those there are.
    """
    shown: list[dict] = []
    for name in ("r1", "sft", "pretrain", "reward_models"):
        taken = groups[name][: NUM_KEY_FIGURES - len(shown)]
        groups[name] = groups[name][len(taken) :]
        shown += taken
        if name == "r1" and shown:
            break
    return shown


def parents(run: RunRecord, evaluation: StageRecord) -> Callable[[str], str | None]:
    """Says of a stage's name which model it started from, as `parent_of` does."""
    return lambda name: parent_of(run.stages[name], evaluation) if name in run.stages else None


def glossary(found: list[results.Column]) -> dict[str, Term]:
    """The words and metrics of this report, each explained once."""
    measured = dict(known for column in found if (known := term_of(column.metric)))
    return {name: term for name, term in {**EVALUATION, **WORDS}.items() if name in measured or name in WORDS}


def missing(stages: list[StageRecord]) -> list[str]:
    """One line that names the stages that were not made."""
    names = [stage.name for stage in stages if stage.status == "missing"]
    return [f"not made in this run (yet): {', '.join(names)}"] if names else []


def mixed(run: RunRecord) -> list[str]:
    """A line for each stage that is not of one piece with the others, and the commands that mend it.

    The numbers of the two do not belong to one chain.
    """
    found = flaws(run.path, {name: stage.path for name, stage in run.stages.items() if stage.path})
    mends = dict.fromkeys(command for flaw in found for command in flaw.mends)
    return [flaw.message for flaw in found] + [f"to mend it: {command}" for command in mends]


def parent_of(stage: StageRecord, evaluation: StageRecord) -> str | None:
    """The model that a stage started from, as the evaluation calls it; None where it started from none.

    A model from outside stands in for the base of the recipe or of a student. The evaluation knows it by that stage's
    name, and by the same directory; where it was not evaluated, the stage's place in the recipe tells.
    """
    policy = stage.inputs.get(POLICY)
    if policy is None or policy.stage:
        return policy.stage if policy else None
    family = family_of(stage.name)
    stood_in_for = "student_base" + stage.name.removeprefix(family) if family in FAMILIES else "base"
    same = [
        role
        for role, source in evaluation.inputs.items()
        if source.stage is None and (source.model_dir, source.fingerprint) == (policy.model_dir, policy.fingerprint)
    ]
    return same[0] if same and stood_in_for not in same else stood_in_for


def what_it_did(found: list[results.Column], stage: StageRecord, evaluation: StageRecord) -> dict[str, Any]:
    """The card of a stage: what it is, what it started from, and the largest changes that the evaluation measured."""
    parent = parent_of(stage, evaluation)
    changes = results.changes(found, stage.name, parent) if parent else []
    last = stage.metrics[-1] if stage.metrics else {}
    return {
        "name": stage.name,
        "shown": stage_name(stage.name),
        "status": stage.status,
        "parent": stage_name(parent) if parent else None,
        "changes": changes,
        "steps": last.get("step"),
        "seconds": figures.number(stage.timing.total_s) if stage.timing else None,
    }
