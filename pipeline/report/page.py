"""Puts the report together: reads the run, builds figures and tables, renders the one HTML file."""

import datetime
import json
import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from pipeline.report import emergence, figures, lineage, results, samples, stage_table, student_table, tables
from pipeline.report.names import stage_name
from pipeline.report.read import RunRecord, StageRecord, read_run

POLICY = "policy"  # the role of the model that a stage starts from


def write_report(run_dir: Path, output: Path, stage_dirs: dict[str, Path] | None = None) -> Path:
    """Writes the report of a run, complete or not, to `output` and returns it. `stage_dirs` default to each stage's
    `latest`.
    """
    run = read_run(
        Path(run_dir), None if stage_dirs is None else {name: Path(path) for name, path in stage_dirs.items()}
    )
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    temporary.write_text(render(run), encoding="utf-8")
    os.replace(temporary, output)
    return output


def render(run: RunRecord) -> str:
    """The page. Everything that comes from files is escaped by the template; figures travel as JSON that cannot close
    its script.
    """
    environment = Environment(
        loader=PackageLoader("pipeline.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = tables.duration
    context = build_context(run)
    assets = {name: Markup(environment.loader.get_source(environment, name)[0]) for name in ("report.css", "report.js")}
    script_data = Markup(json.dumps(context["figures"], ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"))
    return environment.get_template("report.html.j2").render(
        **context,
        css=assets["report.css"],
        js=assets["report.js"],
        figures_json=script_data,
        plotly_js=Markup(get_plotlyjs()),
    )


def build_context(run: RunRecord) -> dict:
    """All that the template shows."""
    stages = list(run.stages.values())
    evaluation = run.stages.get("evaluate")
    found = results.columns(evaluation.results if evaluation else [])
    models = results.models(found)
    trained = [stage for stage in stages if stage.kind == "grpo"]
    groups = {
        "results": results.result_figures(found),
        "r1": figures.step_figures(trained, figures.R1_PANELS, "r1"),
        "reward": figures.step_figures(trained, figures.REWARD_PANELS, "reward"),
        "policy": figures.step_figures(trained, figures.POLICY_PANELS, "policy"),
        "pretrain": figures.step_figures([s for s in stages if s.kind == "pretrain"], figures.LOSS_PANELS, "pretrain"),
        "sft": figures.step_figures([s for s in stages if s.kind == "sft"], figures.LOSS_PANELS, "sft"),
        "reward_models": reward_model_figures(run.stages.get("reward_models")),
        "cost": cost_figures(stages),
        "words": emergence.word_figures(trained),
        "levels": emergence.level_figures(trained),
        "watch": figures.step_figures(
            [stage for stage in trained if any("watch/accuracy" in row for row in stage.metrics)],
            emergence.WATCH_PANELS,
            "watch",
        ),
    }
    costs = tables.costs(stages)
    beside_the_paper = stage_table.rows(found)
    comparisons = evaluation.comparisons if evaluation else []
    shape = stage_table.shape(beside_the_paper, comparisons)
    students = student_table.students(found, run.config, run.stages)
    student_columns = student_table.columns(found, students)
    student_shape = student_table.shape(student_columns, students, comparisons)
    return {
        "run": run,
        "now": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "facts": facts(run),
        "problems": run.problems
        + [problem for stage in stages for problem in stage.problems]
        + missing(stages)
        + mixed(run.stages),
        "alarms": [(stage_name(stage.name), stage.alarms) for stage in stages if stage.alarms],
        "num_done": sum(stage.status == "done" for stage in stages),
        "stages": stages,
        "columns": found,
        "column_groups": results.by_set(found),
        "models": [{"name": model, "shown": stage_name(model)} for model in models],
        "result_notes": results.notes(evaluation.results if evaluation else []),
        "beside_the_paper": beside_the_paper,
        "paper_stages": [stage_name(stage) for stage in stage_table.STAGES],
        "shape": shape,
        "shape_summary": stage_table.summary(shape),
        "student_columns": [
            {"paper": benchmark.name, "ours": stage_table.label_of(column)} for benchmark, column in student_columns
        ],
        "student_rows": student_table.rows(student_columns, students),
        "student_shape": student_shape,
        "student_summary": stage_table.summary(student_shape, "comparisons of students"),
        "levels": tables.level_tables(evaluation.results if evaluation else []),
        "did": [
            what_it_did(run, found, stage) for stage in stages if stage.status != "missing" and stage.name != "evaluate"
        ],
        "groups": groups,
        "figures": [figure for group in groups.values() for figure in group],
        "legends": {
            name: [stage_name(stage.name) for stage in stages if stage.kind in kinds]
            for name, kinds in (("grpo", ("grpo",)), ("pretrain", ("pretrain",)), ("sft", ("sft",)))
        },
        "samples": samples.same_prompts(evaluation.samples if evaluation else []),
        "training_samples": [
            (stage_name(stage.name), samples.training_samples(stage)) for stage in trained if stage.samples
        ],
        "costs": costs,
        "totals": tables.cost_totals(costs),
        "ledger": tables.ledger(stages, run.config),
        "words": emergence.word_table(trained),
        "first_words": emergence.first_words(trained),
        "lineage_svg": Markup(lineage.lineage_svg(run.stages)),
        "lineage": tables.lineage_rows(stages),
        "final_metrics": [
            (stage_name(s.name), tables.manifest_metrics(s))
            for s in stages
            if s.name != "evaluate" and tables.manifest_metrics(s)
        ],
        "configuration": tables.configuration(run),
        "stage_name": stage_name,
    }


def missing(stages: list[StageRecord]) -> list[str]:
    names = [stage.name for stage in stages if stage.status == "missing"]
    return [f"not made in this run (yet): {', '.join(names)}"] if names else []


def mixed(stages: dict[str, StageRecord]) -> list[str]:
    """Stages that were made from another version of a stage than the one shown: their numbers do not belong to one
    chain.
    """
    found = []
    for stage in stages.values():
        for entry in stage.inputs.values():
            source = stages.get(entry.stage) if entry.stage else None
            made_from = entry.fingerprint
            if source and source.path and made_from and made_from != source.fingerprint:
                found.append(
                    f"{stage.name} was made from {source.name}@{made_from[:8]}, not from the one shown, "
                    f"{source.name}@{source.fingerprint[:8]}"
                )
    return found


def what_it_did(run: RunRecord, found: list[results.Column], stage: StageRecord) -> dict:
    """A stage's card: what it is, what it started from, and the largest changes that the evaluation measured."""
    policy = stage.inputs.get(POLICY)
    parent = (policy.stage or "base") if policy else None
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
    """The line under the title: recipe, seed, model, data, versions; what the files say and no more."""
    config = run.config
    model, data = (config.get(key) if isinstance(config.get(key), dict) else {} for key in ("model", "data"))
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


def reward_model_figures(stage: StageRecord | None) -> list[dict]:
    """Held-out and training accuracies as bars, and the two losses."""
    if stage is None:
        return []
    bars = tables.reward_model_bars(stage)
    names = [
        name.replace("_", " ").replace("/", ": ").replace("holdout", "held-out").removesuffix(" accuracy")
        for name, _ in bars
    ]
    color = stage_name("reward_models").color
    trace = {
        "type": "bar",
        "x": names,
        "y": [value for _, value in bars],
        "width": 0.6,
        "marker": {"color": color},
        "text": [f"{value:.1%}" for _, value in bars],
        "textposition": "auto",
        "textangle": 0,
        "hovertemplate": "%{x}: %{y:.1%}<extra></extra>",
    }
    axes = {"xaxis": {"type": "category", "tickangle": -25}, "yaxis": figures.share_axis([1.0])}
    accuracy = (
        [
            figures.figure(
                "reward-model-accuracy",
                "Accuracy of the reward models",
                "Pairs ordered rightly, completions labelled rightly.",
                [trace],
                axes,
            )
        ]
        if bars
        else []
    )
    return accuracy + figures.step_figures([stage], figures.REWARD_MODEL_PANELS, "rm")


def cost_figures(stages: list[StageRecord]) -> list[dict]:
    """Start-up and work of each stage, and the phases of the RL steps."""
    rows = [row for row in tables.costs(stages) if row["total_s"]][::-1]  # plotly draws the first at the bottom
    parts = {
        "work": ([row["work_s"] for row in rows], "#1d4ed8"),
        "start-up": ([row["startup_s"] or 0 for row in rows], "#9ca3af"),
    }
    return figures.stacked_bars(
        "time-by-stage", "Time of each stage", [row["shown"].label for row in rows], parts
    ) + figures.phase_figure(stages)
