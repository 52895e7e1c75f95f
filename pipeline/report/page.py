"""Renders the report of a run as one HTML file."""

import json
import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from pipeline.report.context import build_context
from pipeline.report.read import RunRecord, read_run
from pipeline.view.words import duration


def write_report(run_dir: Path, output: Path, stage_dirs: dict[str, Path] | None = None) -> Path:
    """Writes the report of a run, complete or not, and returns its path.

    Args:
        run_dir: runs/<run>.
        output: The file to write.
        stage_dirs: The directory of each stage to show; None for the latest of each.
    """
    directories = None if stage_dirs is None else {name: Path(path) for name, path in stage_dirs.items()}
    run = read_run(Path(run_dir), directories)
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    temporary.write_text(render(run), encoding="utf-8")
    os.replace(temporary, output)
    return output


def render(run: RunRecord) -> str:
    """The page as text.

    The template escapes everything that comes from files; figures travel as JSON that cannot close its script.
    """
    loader = PackageLoader("pipeline.report", "assets")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    context = build_context(run)
    figures_json = json.dumps(context["figures"], ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return environment.get_template("report.html.j2").render(
        **context,
        css=Markup(loader.get_source(environment, "report.css")[0]),
        js=Markup(loader.get_source(environment, "report.js")[0]),
        figures_json=Markup(figures_json),
        plotly_js=Markup(get_plotlyjs()),
    )
