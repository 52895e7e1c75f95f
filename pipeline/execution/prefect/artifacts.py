"""What a stage shows among Prefect's artifacts: its final numbers as a table, and the report as a link."""

import re

from prefect.artifacts import create_link_artifact, create_table_artifact

from pipeline.planning.fingerprint import short_fingerprint
from pipeline.planning.plan import Plan, Step
from stages.contract.json_file import to_plain
from stages.contract.manifest import Manifest


def show_metrics(step: Step, manifest: Manifest) -> None:
    """Shows the final numbers of a stage as a table among the artifacts."""
    rows = [{"metric": name, "value": value} for name, value in manifest.metrics.items()]
    rows += [{"metric": f"timing/{name}", "value": value} for name, value in to_plain(manifest.timing).items()]
    rows.append({"metric": "peak_memory_gib", "value": manifest.peak_memory_gib})
    create_table_artifact(
        key=_key(step.stage),
        table=rows,
        description=f"{step.stage} {short_fingerprint(step.fingerprint)}: {step.dir}",
    )


def link_report(plan: Plan) -> None:
    """Links the run's report: where `prefect.report_url` serves it, else as a file of the shared disk."""
    config = plan.config
    path = config.run_dir / "report.html"
    base = config.prefect.report_url
    create_link_artifact(
        key=_key(f"{config.run}-report"),
        link=f"{base.rstrip('/')}/{config.run}/report.html" if base else path.as_uri(),
        link_text=f"Report of the run {config.run}",
        description=f"{path}; `r1 report --watch run={config.run}` shows it where the link does not open",
    )


def _key(text: str) -> str:
    """A key of an artifact, which has lower-case letters, digits and dashes only.

    >>> _key("r1_zero")
    'r1-zero'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "run"
