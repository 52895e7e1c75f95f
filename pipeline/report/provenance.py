"""What a run is and where its numbers come from: recipe, data, command, commit, versions, hardware.

What the files say and no more. Pure functions of what `read` found.
"""

from collections.abc import Iterable

from pipeline.report.read import RunRecord, mapping


def facts(run: RunRecord) -> list[tuple[str, str]]:
    """The line below the title: recipe, seed, model, data."""
    config = run.config
    model, data = mapping(config.get("model")), mapping(config.get("data"))
    shown = [
        ("recipe", config.get("recipe")),
        ("seed", config.get("seed")),
        ("base model", model.get("path") or ("its own" if model else None)),
        ("data", data.get("path") or data.get("name")),
    ]
    return [(name, str(value)) for name, value in shown if value not in (None, "")]


def origin(run: RunRecord) -> list[tuple[str, str]]:
    """How the run was made: the command of its last stage, commits, versions of the engines, hardware."""
    stages = list(run.stages.values())
    described = [stage.description for stage in stages if stage.description]
    made = [stage.manifest for stage in stages if stage.manifest and stage.kind != "report"]
    shown = [
        ("commands", _each(text.command for text in described)),
        ("commit", _each(text.commit for text in described)),
        ("versions", _versions(manifest.versions for manifest in made)),
        ("hardware", _each("; ".join(manifest.hardware.values()) for manifest in made if manifest.hardware)),
    ]
    return [(name, value) for name, value in shown if value]


def _each(values: Iterable[str | None]) -> str:
    """All different values, one a line."""
    return "\n".join(dict.fromkeys(value for value in values if value))


def _versions(found: Iterable[dict[str, str]]) -> str:
    """Every library with its version, or with all of them where stages were made with different ones."""
    seen: dict[str, dict[str, None]] = {}
    for versions in found:
        for name, version in versions.items():
            seen.setdefault(name, {})[version] = None
    return ", ".join(f"{name} {' and '.join(versions)}" for name, versions in seen.items())
