"""From the command line to a RunConfig: friendly spellings, a check of every override before Hydra composes,
composition.

Hydra stops at the first mistake and knows no ranges. Here every override is checked against the dataclasses first, then
the rest is composed and checked as a whole, so that one run of a command reports all mistakes.
"""

import dataclasses
import difflib
import re
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.configuration.graph import STAGES, is_stage
from pipeline.configuration.schema import RunConfig, default_tree, from_tree, suite_files
from pipeline.errors import InvalidConfig
from pipeline.paths import CONF_DIR
from stages.config import ConfigError
from stages.config.convert import convert
from stages.config.fields import range_error


def register_schema() -> None:
    """Gives Hydra the defaults of all keys under the name `schema` (first in conf/config.yaml)."""
    ConfigStore.instance().store(name="schema", node=default_tree())


def groups() -> dict[str, list[str]]:
    """Config groups of conf/ and their options."""
    return {
        path.name: sorted(option.stem for option in path.glob("*.yaml"))
        for path in sorted(CONF_DIR.iterdir())
        if path.is_dir()
    }


def rewrite(overrides: list[str]) -> list[str]:
    """The spellings that people type, as Hydra wants them.

    `eval=[a,b]` -> `stages.evaluate.suites=[a,b]`;
    `stage=X` -> `+stage=X` (several are joined), and the stage of one student, which has no file in conf/stage, ->
    `++selected.distill_X=true`; `deepspeed@stages.r1_zero.deepspeed=zero3`, `students=published`, `experiment=X` ->
    with `+`; `students.NAME.path=DIR`, `student.distill.key=value` -> with `++`; `data.path=FILE` also chooses
    `data=file` unless a data group is chosen, `stages.X.data.path=FILE` likewise for one stage, and so do
    `data.sources.NAME.path=FILE` and `.preset=NAME`; a key within a mapping of free keys, as these and
    `launcher.environment.X`, adds to it (`++`).
    """
    result, stages = [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        name = key.lstrip("+")
        if name == "stage" and equals:
            stages += value.strip("[]").split(",") if value.startswith("[") else [value]
        elif name == "eval" and equals:
            result.append(f"stages.evaluate.suites={value if value.startswith('[') else f'[{value}]'}")
        elif ("@" in name or name in ("students", "experiment")) and not key.startswith(("+", "~")):
            result.append(f"+{override}")
        elif equals and not key.startswith(("+", "~")) and (key.startswith("students.") or _is_in_free_mapping(key)):
            result.append(f"++{override}")
        else:
            result.append(override)
    if stages:
        names = list(dict.fromkeys(name.strip() for name in stages))
        of_students = [name for name in names if is_stage(name) and name not in STAGES]
        result += [f"++selected.{name}=true" for name in of_students]
        names = [name for name in names if name not in of_students]
        if names:
            result.insert(0, f"+stage={names[0]}" if len(names) == 1 else f"+stage=[{','.join(names)}]")
    chosen = {override.partition("=")[0].lstrip("+") for override in result}
    for override in list(result):
        key, _, value = override.partition("=")
        node = re.sub(r"\.path$|\.sources(\..*)?$", "", key.lstrip("+"))
        is_from_file = node != key.lstrip("+") and node.split(".")[-1] == "data" and value not in ("null", "", "{}")
        choice = "data=file" if node == "data" else f"+data@{node}=file"
        if (
            is_from_file
            and not chosen & {node, f"data@{node}"}
            and f"{node}.name" not in chosen
            and choice not in result
        ):
            result.append(choice)
    return result


def _is_in_free_mapping(key: str) -> bool:
    """Whether the key is, or lies within, a field of the schema that takes any keys: Hydra's schema cannot know them."""
    parts = key.split(".")
    return any(get_origin(schema_of(".".join(parts[:end]))[0]) is dict for end in range(2, len(parts) + 1))


def check_overrides(overrides: list[str], is_sweep: bool = False) -> tuple[list[str], list[str]]:
    """(mistakes, overrides without a mistake)."""
    errors, good = [], []
    parser = OverridesParser.create()
    for text in overrides:
        try:
            mistakes = _mistakes(parser.parse_overrides([text])[0], is_sweep)
        except HydraException as error:
            mistakes = [f"{text}: not a valid override ({str(error).splitlines()[0]})"]
        errors += mistakes
        if not mistakes:
            good.append(text)
    return errors, good


def _mistakes(override: Override, is_sweep: bool) -> list[str]:
    key = override.key_or_group
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return []
    if override.is_sweep_override() and not is_sweep:
        fix = (
            "'+stage=[a,b]' selects several"
            if key == "stage"
            else "add --multirun for a sweep, or quote it as a list: 'key=[a,b]'"
        )
        return [f"{override.input_line}: several values; {fix}"]
    if override.type == OverrideType.DEL:
        return [f"{override.input_line}: keys cannot be removed; set {key}=null or choose another option"]
    known = groups()
    if key in known and (override.package or not isinstance(_first_value(override), dict)):
        return _group_mistakes(override, known[key])
    if override.package:
        return [f"{key}@{override.package}: no config group {key!r}{_hint(key, known)}"]
    expected, metadata, mistake = schema_of(key)
    if mistake:
        return [mistake]
    return [line for value in _sweep_values(override) for line in _value_mistakes(key, value, expected, metadata)]


def _group_mistakes(override: Override, options: list[str]) -> list[str]:
    errors = []
    if override.package and schema_of(override.package)[2]:
        errors.append(schema_of(override.package)[2])
    for value in _sweep_values(override) or [override.value()]:
        for name in value if isinstance(value, list) else [value]:
            if str(name) not in options:
                what = "stage" if override.key_or_group == "stage" else f"option of {override.key_or_group}"
                errors.append(
                    f"{override.key_or_group}={name}: unknown {what}; known: {', '.join(options)}{_hint(name, options)}"
                )
    return errors


def _first_value(override: Override) -> Any:
    values = _sweep_values(override)
    return values[0] if values else override.value()


def _sweep_values(override: Override) -> list[Any]:
    """The values of a swept override that can be listed; nothing for a plain one (the composed configuration is
    checked).
    """
    if not override.is_sweep_override() or not override.is_discrete_sweep():
        return []
    return list(override.sweep_iterator(transformer=lambda element: _plain(element)))


def _plain(element: Any) -> Any:
    return getattr(element, "text", element)


def _value_mistakes(key: str, value: Any, expected: Any, metadata: dict) -> list[str]:
    if (isinstance(value, str) and "${" in value) or dataclasses.is_dataclass(expected):
        return []
    errors: list[str] = []
    converted = convert(expected, value, key, errors)
    error = None if errors else range_error(metadata, converted)
    return errors + ([f"{key}: {error}. {metadata.get('doc', '')}".rstrip()] if error else [])


def schema_of(key: str) -> tuple[Any, dict, str | None]:
    """(type, metadata, None) of a dotted key, or (None, {}, what is wrong with it)."""
    expected, metadata, known_part = RunConfig, {}, ""
    for name in key.split("."):
        if get_origin(expected) is dict and not metadata.get("schema"):
            expected, metadata = get_args(expected)[1], {}
            if known_part == "eval" and name not in suite_files():
                return (
                    None,
                    {},
                    f"{key}: unknown suite{_hint(name, suite_files())}; a suite of your own is a file in conf/eval/",
                )
            if known_part == "selected" and not is_stage(name):
                return None, {}, f"{key}: unknown stage{_hint(name, default_tree()['selected'])}"
            known_part = f"{known_part}.{name}"
            continue
        expected = metadata.get("schema") or expected
        if get_origin(expected) in (Union, types.UnionType) or not dataclasses.is_dataclass(expected):
            return None, {}, f"{key}: unknown key; {known_part} is a value, not a section"
        specs = {spec.name: spec for spec in dataclasses.fields(expected)}
        if name not in specs:
            return None, {}, f"{key}: unknown key{_key_hint(key, known_part, name, specs)}"
        metadata, expected = specs[name].metadata, get_type_hints(expected)[name]
        known_part = f"{known_part}.{name}" if known_part else name
    return expected, metadata, None


def all_keys(tree: dict | None = None, prefix: str = "") -> list[str]:
    """Every dotted key of the schema that holds a value."""
    keys = []
    for name, value in (default_tree() if tree is None else tree).items():
        keys += all_keys(value, f"{prefix}{name}.") if isinstance(value, dict) and value else [f"{prefix}{name}"]
    return keys


def _key_hint(key: str, known_part: str, name: str, specs: dict) -> str:
    """The closest sibling; failing that, the closest key anywhere; failing that, what there is."""
    prefix = f"{known_part}." if known_part else ""
    close = difflib.get_close_matches(name, specs, n=1, cutoff=0.7)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    leaf = key.rsplit(".", 1)[-1]
    stage = key.split(".")[1] if key.startswith("stages.") and key.count(".") > 1 else None
    same = [known for known in all_keys() if known.rsplit(".", 1)[-1] == leaf]
    if same:
        nearest = next((known for known in same if stage and known.startswith(f"stages.{stage}.")), None)
        return f"; did you mean {nearest or difflib.get_close_matches(key, same, n=1, cutoff=0)[0]}?"
    close = difflib.get_close_matches(key, all_keys(), n=1)
    return f"; did you mean {close[0]}?" if close else f"; {known_part or 'the configuration'} has {', '.join(specs)}"


def _hint(name: Any, known) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def compose_config(overrides: list[str], is_sweep: bool = False) -> RunConfig:
    """The checked configuration of these overrides. Raises InvalidConfig with every mistake. Swept keys are checked
    value by value.
    """
    errors, good = check_overrides(overrides, is_sweep)
    plain = [text for text in good if not OverridesParser.create().parse_overrides([text])[0].is_sweep_override()]
    try:
        config = from_hydra(compose_tree(plain))
    except (ConfigError, InvalidConfig) as error:
        raise InvalidConfig(errors + error.errors) from None
    if errors:
        raise InvalidConfig(errors)
    return config


def compose_tree(overrides: list[str]):
    """Hydra's composition of conf/ with these overrides, without Hydra's own node."""
    register_schema()
    try:
        with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3", job_name="r1"):
            return compose("config", overrides=overrides)
    except HydraException as error:
        raise InvalidConfig([str(error).strip()]) from None


def from_hydra(cfg) -> RunConfig:
    """The dataclass of a composed DictConfig: below this line there is no OmegaConf."""
    try:
        tree = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise InvalidConfig([str(error).splitlines()[0]]) from None
    tree.pop("hydra", None)
    return from_tree(tree)
