"""The configuration reference as Markdown, written from the schema: every key, documented once.

Stages that share a class share a section, and so do classes that inherit keys from a common one.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from pipeline.configuration.defaults import default_tree
from pipeline.configuration.orchestration import PrefectConfig, RetryConfig
from pipeline.configuration.schema import (
    CostConfig,
    LauncherConfig,
    NotifyConfig,
    RunConfig,
    StagesConfig,
    StudentConfig,
    SweepConfig,
    TrackerConfig,
)
from stages.config import (
    Checked,
    CollectConfig,
    DataConfig,
    DeepSpeedConfig,
    EvaluateConfig,
    GrpoConfig,
    HackingConfig,
    HealthConfig,
    JudgeConfig,
    LoraConfig,
    MixConfig,
    MixtureSource,
    ModelConfig,
    OptimConfig,
    PrepareConfig,
    PretrainConfig,
    RewardConfig,
    RewardModelsConfig,
    RolloutConfig,
    SandboxConfig,
    ServerConfig,
    SftConfig,
    SourceConfig,
    StageConfig,
    SuiteConfig,
    TracesConfig,
    fields_of,
    is_operational,
    section_of,
    unit_of,
)

# The sections in the order in which they are documented; every class of the schema is one.
TITLES: dict[type, str] = {
    RunConfig: "Run",
    ModelConfig: "Models",
    StudentConfig: "Students",
    DataConfig: "Data",
    SourceConfig: "Sources of rows",
    MixtureSource: "Sources of a mixture",
    TracesConfig: "Traces of your own",
    PrepareConfig: "Preparing data",
    RolloutConfig: "Sampling",
    ServerConfig: "Servers that sample",
    JudgeConfig: "Judge",
    SandboxConfig: "Sandbox",
    OptimConfig: "Optimizer",
    DeepSpeedConfig: "DeepSpeed",
    LoraConfig: "Adapters",
    HealthConfig: "Alarms",
    StagesConfig: "Stages",
    StageConfig: "Every trained stage",
    PretrainConfig: "Pretraining",
    SftConfig: "Supervised fine-tuning",
    GrpoConfig: "Reinforcement learning",
    RewardConfig: "Rewards",
    MixConfig: "Mix of domains",
    HackingConfig: "Watch for reward hacking",
    CollectConfig: "Collecting data",
    RewardModelsConfig: "Reward models",
    EvaluateConfig: "Evaluation",
    SuiteConfig: "Evaluation suites",
    LauncherConfig: "Launcher",
    TrackerConfig: "Tracker",
    NotifyConfig: "Notifications",
    PrefectConfig: "Prefect",
    RetryConfig: "Trying again",
    SweepConfig: "Sweeps",
    CostConfig: "Costs",
}

# Read by the driver only: no stage's fingerprint has them.
DRIVER_ONLY = {
    *(RunConfig, PrepareConfig, LauncherConfig, TrackerConfig, NotifyConfig, PrefectConfig, RetryConfig, SweepConfig),
    CostConfig,
}

INTRODUCTION = """\
Every key can be set on the command line as `key=value`. A recipe, or a file of another config group, sets some of them
(`conf/`); the defaults here are those of the schema. `python -m pipeline run --cfg job` shows what holds in the end.

* `STAGE` stands for the name of a stage, `NAME` for a name of your own. Of stages that share a section, the table shows
  the keys of the first.
* What stages share (`data`, `rollout`, `judge`, `sandbox`, `deepspeed`, `lora`, `health`) is set for all of them at the
  top, and for one of them below `stages.STAGE`.
* Source: [N] is Nature 645 (2025), Methods; [V1] and [V2] are versions 1 and 2 of arXiv 2501.12948; [DAPO] is
  arXiv 2503.14476; [ours] is our own choice where the paper is silent. A key without a source is a matter of the
  software, not of the method.
* Fingerprint: "yes" means that another value makes the stage anew, in a directory of its own; "no" means that the key
  can be changed at any time. A file of data counts by its content, not by its path.
"""

HEADER = """\
| key | type | default | range or choices | unit | source | fingerprint | description |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""

TYPES = {int: "integer", float: "number", bool: "true or false", str: "text", Any: "anything"}
SOURCE = re.compile(r"\[(?:N|V1|V2|DAPO|ours)\b[^\]]*\]")


def as_markdown() -> str:
    """The whole reference: an introduction, and for each class of the schema its keys in a table."""
    places = sections()
    parts = ["# Configuration reference", INTRODUCTION.rstrip()]
    parts += [_section_text(cls, places[cls]) for cls in TITLES]
    return "\n\n".join(parts) + "\n"


def sections() -> dict[type, list[str]]:
    """Where in the configuration the keys of each class stand: the dotted keys of its sections, "" for the whole."""
    places: dict[type, list[str]] = {}
    for cls, key in _walk(RunConfig, ""):
        for documented in cls.__mro__:
            if issubclass(documented, Checked) and documented is not Checked:
                places.setdefault(documented, []).append(key)
    return places


def own_fields(cls: type) -> dict[str, FieldInfo]:
    """The keys that are documented with this class: those that it does not inherit."""
    return {name: field for name, field in fields_of(cls).items() if name in cls.__annotations__}


def _walk(cls: type, key: str) -> Iterator[tuple[type, str]]:
    """Every section of the configuration from `cls` on, with its dotted key."""
    yield cls, key
    for name, field in fields_of(cls).items():
        path = f"{key}.{name}" if key else name
        section, is_named = _section_in(field.annotation)
        if section:
            yield from _walk(section, f"{path}.NAME" if is_named else path)


def _section_in(annotation: Any) -> tuple[type | None, bool]:
    """(the class of the schema that a field holds, whether it holds several by name)."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return annotation, False
    if get_origin(annotation) is dict:
        return _section_in(get_args(annotation)[1])[0], True
    return None, False


def _section_text(cls: type, places: list[str]) -> str:
    patterns = _patterns(places)
    is_stage = any(field.annotation is cls for field in fields_of(StagesConfig).values())
    first = places[0] if is_stage else next(iter(patterns))
    parts = [f"## {TITLES[cls]}", (cls.__doc__ or "").replace("\n    ", "\n").strip()]
    parents = [base for base in cls.__bases__ if base in TITLES]
    if first:
        parts.append(f"Set as {_listed(patterns)}.")
    if parents:
        links = " and ".join(_link(parent) for parent in parents)
        parts.append(f"The keys of {links} belong here too.")
    rows = [_row(cls, first, name, field) for name, field in own_fields(cls).items()]
    return "\n\n".join(parts) + ("\n\n" + HEADER + "\n".join(rows) if rows else "")


def _patterns(places: list[str]) -> dict[str, list[str]]:
    """Dotted keys with the stage replaced by STAGE where several stages have the section -> those stages."""
    found: dict[str, list[str]] = {}
    for place in places:
        parts = place.split(".")
        if parts[0] == "stages" and len(parts) > 1:
            pattern = ".".join(["stages", "STAGE", *parts[2:]])
            found.setdefault(pattern, []).append(parts[1])
        else:
            found[place] = []
    return {
        pattern.replace("STAGE", stages[0]) if len(stages) == 1 else pattern: stages
        for pattern, stages in found.items()
    }


def _listed(patterns: dict[str, list[str]]) -> str:
    told = []
    for pattern, stages in patterns.items():
        names = f" (STAGE: {', '.join(stages)})" if len(stages) > 1 else ""
        told.append(f"`{pattern}.KEY`{names}")
    return ", ".join(told)


def _row(cls: type, pattern: str, name: str, field: FieldInfo) -> str:
    key = f"{pattern}.{name}" if pattern else name
    description = field.description or ""
    cells = [
        f'<a id="{key}"></a>`{key}`',
        _type(field),
        _default(cls, name, field),
        _range(field),
        unit_of(field).replace("none", ""),
        ", ".join(dict.fromkeys(SOURCE.findall(description))),
        _in_fingerprint(cls, name, field),
        description.replace("<", "&lt;"),
    ]
    return "| " + " | ".join((cell or "–").replace("|", "\\|") for cell in cells) + " |"


def _type(field: FieldInfo) -> str:
    marked = section_of(field)
    if marked is not field.annotation:
        return f"some keys of {_link(marked)}"
    return _type_name(field.annotation)


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in TITLES:
        return _link(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return "choice"
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"mapping of names to {_type_name(arguments[1])}"
    if type(None) in arguments:
        return f"{_type_name(next(one for one in arguments if one is not type(None)))} or null"
    return TYPES[annotation]


def _default(cls: type, name: str, field: FieldInfo) -> str:
    """The default as it is typed on a command line; for what follows another key, that key."""
    section, is_named = _section_in(field.annotation)
    if section and not is_named:
        return ""
    followed = _followed_key(cls, name)
    if followed:
        return f"as `{followed}`"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    return f"`{value}`" if value != "" else "empty"


def _followed_key(cls: type, name: str) -> str:
    """The key that a stage's key follows unless it is set: data.template for the template of SFT."""
    for node in default_tree()["stages"] if cls in (SftConfig, EvaluateConfig) else ():
        if fields_of(StagesConfig)[node].annotation is cls:
            value = default_tree()["stages"][node].get(name)
            if isinstance(value, str) and value.startswith("${"):
                return value[2:-1]
    return ""


def _range(field: FieldInfo) -> str:
    choices = [one for part in _parts(field.annotation) if get_origin(part) is Literal for one in get_args(part)]
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    marks = [*field.metadata]
    for part in _parts(field.annotation):
        if isinstance(part, FieldInfo):
            marks += part.metadata
    limits = []
    for mark in marks:
        for kind, sign, bound in ((Gt, ">", "gt"), (Ge, "≥", "ge"), (Lt, "<", "lt"), (Le, "≤", "le")):
            if isinstance(mark, kind):
                limits.append(f"{sign} {getattr(mark, bound)}")
    return ", ".join(limits)


def _parts(annotation: Any) -> Iterator[Any]:
    """A type, the types within it and what is marked on them: list[Annotated[X, mark]] -> X and the mark too."""
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _parts(part)


def _in_fingerprint(cls: type, name: str, field: FieldInfo) -> str:
    """Whether another value makes a stage anew; nothing for a section, whose keys have answers of their own."""
    if _section_in(field.annotation)[0]:
        return ""
    if cls in DRIVER_ONLY:
        return "yes" if name == "seed" else "no"
    adds_a_stage = cls is StudentConfig and name == "rl"
    return "no" if adds_a_stage or is_operational(field) else "yes"


def _link(cls: type) -> str:
    title = TITLES[cls]
    return f"[{title}](#{title.lower().replace(' ', '-')})"
