"""The spellings of overrides that people type, rewritten as Hydra wants them."""

import os
import re

from pipeline.configuration.graph import STAGES, is_stage
from pipeline.configuration.keys import is_in_free_mapping


def rewrite(overrides: list[str]) -> list[str]:
    """The overrides as Hydra wants them.

    * `stage=X` becomes `+stage=X`, and several are joined. The stage of one student, which has no file in conf/stage/,
      becomes `++selected.distill_X=true`.
    * `eval=[a,b]` becomes `stages.evaluate.suites=[a,b]`.
    * `deepspeed@stages.r1_zero.deepspeed=zero3`, `students=published` and `experiment=X` get a `+`.
    * `students.NAME.path=DIR`, `student.distill.KEY=VALUE`, `launcher.environment.X=Y` and other keys within a mapping
      that takes any names get a `++`.
    * `KEY=~/PATH` gets the home directory, which no shell puts there.
    * `data.path=FILE`, `data.sources.NAME.path=FILE` and `.preset=NAME` also choose `data=file`, unless a data group is
      chosen; `stages.X.data.path=FILE` likewise for one stage.
    """
    result: list[str] = []
    stages: list[str] = []
    for override in map(_with_home, overrides):
        key, equals, value = override.partition("=")
        name, is_bare = key.lstrip("+"), not key.startswith(("+", "~"))
        if name == "stage" and equals:
            stages += value.strip("[]").split(",") if value.startswith("[") else [value]
        elif name == "eval" and equals:
            suites = value if value.startswith("[") else f"[{value}]"
            result.append(f"stages.evaluate.suites={suites}")
        elif is_bare and ("@" in name or name in ("students", "experiment")):
            result.append(f"+{override}")
        elif is_bare and equals and (key.startswith("students.") or is_in_free_mapping(key)):
            result.append(f"++{override}")
        else:
            result.append(override)
    group, keys = _stage_overrides(stages)
    result = [*group, *result, *keys]
    return result + _data_from_files(result)


def with_stages(words: list[str]) -> list[str]:
    """The rewritten overrides, with `+stage=all` where none of them selects a stage."""
    selects = ("stage=", "selected.", "experiment=")
    return words if any(word.lstrip("+").startswith(selects) for word in words) else [*words, "+stage=all"]


def _with_home(override: str) -> str:
    """The override with the home directory in the place of a leading `~` of its value, also of one in quotes.

    A user who does not exist stays as typed, and is reported with the path.
    """
    key, equals, value = override.partition("=")
    quote = value[0] if value[:1] in ("'", '"') and value[-1:] == value[0] and len(value) > 1 else ""
    inner = value[1:-1] if quote else value
    expanded = os.path.expanduser(inner)
    if not equals or not inner.startswith("~") or expanded == inner:
        return override
    return f"{key}={quote}{expanded}{quote}"


def _stage_overrides(stages: list[str]) -> tuple[list[str], list[str]]:
    """(the choice of the group `stage`, keys for the stages that have no file in that group) that select `stages`."""
    names = list(dict.fromkeys(name.strip() for name in stages))
    of_students = [name for name in names if is_stage(name) and name not in STAGES]
    with_file = [name for name in names if name not in of_students]
    keys = [f"++selected.{name}=true" for name in of_students]
    if not with_file:
        return [], keys
    return [f"+stage={with_file[0]}" if len(with_file) == 1 else f"+stage=[{','.join(with_file)}]"], keys


def _data_from_files(overrides: list[str]) -> list[str]:
    """The choice `data=file` for each data node that is given a file and no group or name."""
    chosen = {override.partition("=")[0].lstrip("+") for override in overrides}
    choices: list[str] = []
    for override in overrides:
        name, _, value = override.partition("=")
        key = name.lstrip("+")
        node = re.sub(r"\.path$|\.sources(\..*)?$", "", key)
        names_file = node != key and node.split(".")[-1] == "data" and value not in ("null", "", "{}")
        if not names_file or chosen & {node, f"data@{node}", f"{node}.name"}:
            continue
        choice = "data=file" if node == "data" else f"+data@{node}=file"
        if choice not in overrides and choice not in choices:
            choices.append(choice)
    return choices
