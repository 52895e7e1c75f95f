"""Renders the report of a run as one HTML file."""

import base64
import functools
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report.context import build_context
from pipeline.report.drawing import draw
from pipeline.report.glossary import term_of
from pipeline.report.read import RunRecord, read_run
from pipeline.view.words import duration

NUM_DIGITS = 5  # of the numbers that a chart shows when it is pointed at


def write_report(run_dir: Path, output: Path, stage_dirs: dict[str, Path] | None = None) -> Path:
    """Writes the report of a run, complete or not, and returns its path.

    Args:
        run_dir: runs/<run>.
        output: The file to write.
        stage_dirs: The directory of each stage to show; None for the latest of each.
    """
    directories = None if stage_dirs is None else {name: Path(path) for name, path in stage_dirs.items()}
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_page(output, render(read_run(Path(run_dir), directories)))
    return output


def write_page(output: Path, text: str) -> None:
    """Writes a page so that nobody reads half of it."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, output)


def render(run: RunRecord, version: str = "") -> str:
    """The page as text.

    The template escapes everything that comes from files, figures travel as JSON that cannot close its script, and the
    page's own policy lets the browser run the one script that was written here and no other.

    Args:
        run: What `read_run` has found.
        version: Of the page, where a server shows it: then the page asks the server for newer ones.
    """
    environment = _environment()
    context = build_context(run)
    script = "\n".join(_asset(name) for name in (["report.js", "live.js"] if version else ["report.js"]))
    figures = [{key: figure[key] for key in ("id", "title", "data")} for figure in context["figures"]]
    figures_json = json.dumps(_rounded(figures), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return environment.get_template("report.html.j2").render(
        **context,
        version=version,
        css=Markup(_asset("report.css")),
        js=Markup(script),
        script_hash=Markup(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"),
        figures_json=Markup(figures_json),
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "slug": slug}
    environment.globals |= {"draw": draw, "term_of": term_of}
    return environment


def _asset(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def slug(name: str) -> str:
    """A name as part of an id: pass@1 is pass-1."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _rounded(value: Any) -> Any:
    """The same data with NUM_DIGITS digits: more cannot be read from a chart, and they make the file large."""
    if isinstance(value, float):
        return float(f"{value:.{NUM_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
