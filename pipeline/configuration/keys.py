"""What an override can name: the dotted keys of the schema, and the config groups of conf/ with their options."""

import dataclasses
import difflib
import re
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from pipeline.configuration.defaults import default_tree, suite_files
from pipeline.configuration.graph import is_stage
from pipeline.configuration.other_words import key_instead, words
from pipeline.configuration.schema import RunConfig, StagesConfig
from pipeline.paths import CONF_DIR
from stages.config import fields_of, section_of
from stages.config.mistakes import hint


class UnknownKey(ValueError):
    """A dotted key that the schema does not have; the message says so, with the closest key that it has."""


@dataclass(frozen=True)
class Key:
    """What the schema says of one dotted key."""

    type: Any
    field: FieldInfo | None  # with documentation and range; None for an entry of a mapping

    @property
    def description(self) -> str:
        """What the schema says of it to people; nothing for an entry of a mapping."""
        return (self.field.description or "") if self.field else ""

    @property
    def section(self) -> Any:
        """The class of the schema whose fields may follow, where there is one."""
        return section_of(self.field) if self.field else self.type


def look_up(key: str) -> Key:
    """What the schema says of a dotted key, which may be a section. Raises UnknownKey."""
    found, known_part = Key(RunConfig, None), ""
    for name in key.split("."):
        found = _entry(key, known_part, found, name) if _takes_any_name(found) else _field(key, known_part, found, name)
        known_part = f"{known_part}.{name}" if known_part else name
    return found


def is_in_free_mapping(key: str) -> bool:
    """Whether the key is, or lies within, a mapping that takes any names, of which Hydra's own schema cannot know."""
    parts = key.split(".")
    for end in range(2, len(parts) + 1):
        try:
            if get_origin(look_up(".".join(parts[:end])).type) is dict:
                return True
        except UnknownKey:
            return False
    return False


def all_keys(tree: dict[str, Any] | None = None, prefix: str = "") -> list[str]:
    """Every dotted key of the schema that holds a value."""
    keys = []
    for name, value in (default_tree() if tree is None else tree).items():
        keys += all_keys(value, f"{prefix}{name}.") if isinstance(value, dict) and value else [f"{prefix}{name}"]
    return keys


def groups() -> dict[str, list[str]]:
    """The config groups of conf/ and their options."""
    return {
        path.name: sorted(option.stem for option in path.glob("*.yaml"))
        for path in sorted(CONF_DIR.iterdir())
        if path.is_dir()
    }


def _takes_any_name(found: Key) -> bool:
    return get_origin(found.section) is dict


def _entry(key: str, known_part: str, found: Key, name: str) -> Key:
    """An entry of a mapping that takes any names; those of suites and of stages must be there."""
    if known_part == "eval" and name not in suite_files():
        known = suite_files()
        raise UnknownKey(f"{key}: unknown suite{hint(name, known)}; a suite of your own is a file in conf/eval/")
    if known_part == "selected" and not is_stage(name):
        raise UnknownKey(f"{key}: unknown stage{hint(name, default_tree()['selected'])}")
    return Key(get_args(found.type)[1], None)


def _field(key: str, known_part: str, found: Key, name: str) -> Key:
    """A field of a section."""
    if not dataclasses.is_dataclass(found.section):
        raise UnknownKey(f"{key}: unknown key; {known_part} is a value, not a section")
    fields = fields_of(found.section)
    if name not in fields:
        raise UnknownKey(f"{key}: unknown key{_closest_key(key, known_part, name, list(fields))}")
    return Key(fields[name].annotation, fields[name])


def _closest_key(key: str, known_part: str, name: str, siblings: list[str]) -> str:
    """A hint: the closest sibling; what other programs mean; the closest key anywhere; failing that, what there is."""
    prefix = f"{known_part}." if known_part else ""
    if others := _stages_with(name, known_part):
        return f"; {known_part} has none: stages with {name} are {', '.join(others)}"
    close = difflib.get_close_matches(name, siblings, n=1, cutoff=0.7)
    if close and key not in words():
        return f"; did you mean {prefix}{close[0]}?"
    if said := key_instead(key):
        return f"; {said}"
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [known for known in all_keys() if known.rsplit(".", 1)[-1] == leaf]
    if same_leaf:
        stage = key.split(".")[1] if key.startswith("stages.") and key.count(".") > 1 else None
        in_stage = [known for known in same_leaf if stage and known.startswith(f"stages.{stage}.")]
        nearest = in_stage or difflib.get_close_matches(key, same_leaf, n=1, cutoff=0)
        return f"; did you mean {nearest[0]}?"
    close = difflib.get_close_matches(key, all_keys(), n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; {known_part or 'the configuration'} has {', '.join(siblings)}"


def _stages_with(section: str, known_part: str) -> list[str]:
    """Where a stage is asked for a section that only other stages have: those other stages."""
    if not re.fullmatch(r"stages\.\w+", known_part):
        return []
    stages = fields_of(StagesConfig)
    return [
        name
        for name, stage in stages.items()
        if (found := fields_of(section_of(stage)).get(section)) is not None and section_of(found) is not None
    ]
