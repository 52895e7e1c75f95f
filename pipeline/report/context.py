"""Gathers all that the report shows, section by section, as plain data for the template."""

import datetime
from typing import Any

from pipeline.configuration.graph import FAMILIES, family_of
from pipeline.planning.whole import flaws
from pipeline.report import emergence, figures, lineage, results, samples, stage_table, student_table, tables
from pipeline.report.names import stage_name
from pipeline.report.read import RunRecord, StageRecord, mapping

POLICY = "policy"  # the role of the model that a stage starts from


def build_context(run: RunRecord) -> dict[str, Any]:
    """The variables of `assets/report.html.j2`."""
    stages = list(run.stages.values())
    trained = [stage for stage in stages if stage.kind == "grpo"]
    evaluation = run.stages.get("evaluate") or StageRecord("evaluate", None)
    found = results.columns(evaluation.results)
    costs = tables.costs(stages)
    groups = _figure_groups(run, found, costs)
    return {
        **_head(run),
        **_results(evaluation, found),
        **_beside_the_paper(run, evaluation, found),
        **_samples(evaluation, trained),
        "stages": stages,
        "did": [
            what_it_did(found, stage, evaluation)
            for stage in stages
            if stage.status != "missing" and stage.name != "evaluate"
        ],
        "groups": groups,
        "figures": [figure for group in groups.values() for figure in group],
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
        "problems": problems + missing(stages) + mixed(run),
        "alarms": [(stage_name(stage.name), stage.alarms) for stage in stages if stage.alarms],
        "num_done": sum(stage.status == "done" for stage in stages),
    }


def _results(evaluation: StageRecord, found: list[results.Column]) -> dict[str, Any]:
    """The table of the evaluation."""
    return {
        "columns": found,
        "column_groups": results.by_set(found),
        "models": [{"name": model, "shown": stage_name(model)} for model in results.models(found)],
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
    return {
        "samples": samples.same_prompts(evaluation.samples),
        "training_samples": [
            (stage_name(stage.name), samples.training_samples(stage)) for stage in trained if stage.samples
        ],
    }


def _figure_groups(run: RunRecord, found: list[results.Column], costs: list[dict]) -> dict[str, list[dict]]:
    """All figures, by the section that they stand in."""
    stages = list(run.stages.values())
    of_kind = {kind: [stage for stage in stages if stage.kind == kind] for kind in ("grpo", "pretrain", "sft")}
    trained = of_kind["grpo"]
    watched = [stage for stage in trained if any("watch/accuracy" in row for row in stage.metrics)]
    reward_models = run.stages.get("reward_models")
    accuracies = tables.reward_model_bars(reward_models)
    return {
        "results": results.result_figures(found),
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


def facts(run: RunRecord) -> list[tuple[str, str]]:
    """The line below the title: recipe, seed, model, data, versions; what the files say and no more."""
    config = run.config
    model, data = mapping(config.get("model")), mapping(config.get("data"))
    versions: dict[str, str] = {}
    for stage in run.stages.values():
        versions |= stage.manifest.versions if stage.manifest else {}
    shown = [
        ("recipe", config.get("recipe")),
        ("seed", config.get("seed")),
        ("base model", model.get("path") or ("its own" if model else None)),
        ("data", data.get("path") or data.get("name")),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(name, str(value)) for name, value in shown if value not in (None, "")]
