"""Paths on the command line: quotes are asked for in one line that can be pasted, and `~` is the home directory."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.configuration import compose, spelling
from pipeline.configuration.overrides import check_overrides
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig
from pipeline.planning import command_line
from stages.config.quoting import hydra_quoted, override, printable, unquoted

pytestmark = pytest.mark.slow  # composes many configurations

ODD = [
    "~/x (1).jsonl",
    "/a,b.jsonl",
    "/a=b.jsonl",
    "/it's.jsonl",
    '/a"b.jsonl',
    "/dätä.jsonl",
    "/数据/x.jsonl",
    "/x[1].jsonl",
    "/{a}.jsonl",
    "/a&b;c#d!e<f>g^h",
    "/x (copy)/y",
]


def mistakes(*words):
    with pytest.raises(InvalidConfig) as caught:
        compose.compose_config(spelling.rewrite(list(words)))
    return caught.value.errors


@pytest.mark.parametrize(
    "value", [*ODD, "", " x ", "x  y", "\\", 'a\\"', "a\\\\", "null", "True", "123", "1e3", "nan", "$HOME"]
)
def test_a_quoted_value_is_read_as_it_was(value):
    quoted = hydra_quoted(value)
    assert OverridesParser.create().parse_overrides([f"key={quoted}"])[0].value() == value
    assert unquoted(quoted) == value
    assert shlex.split(override("key", value)) == [f"key={quoted}"]


KEYS = ["data.path", "data.files", "model.path", "runs_dir", "++data.sources.x.path"]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("key", KEYS)
def test_a_path_that_needs_quotes_is_one_mistake_whose_fix_works(key, value):
    (line,), (composed,) = check_overrides([f"{key}={value}"])
    assert "\n" not in line and "expecting" not in line and "Lexer" not in line
    (fixed,) = shlex.split(line[line.index(f"'{key.lstrip('+')}=") :].split("; for a sweep")[0])
    assert composed == f"{key}={hydra_quoted(value)}" and fixed == composed.lstrip("+")
    assert check_overrides([composed]) == ([], [composed])


def test_a_path_that_needs_quotes_is_the_only_mistake():
    (line,) = mistakes("data.path=/x (1).jsonl", "data.sources={}")
    assert line.endswith("'data.path=\"/x (1).jsonl\"'")
    config = compose.compose_config(spelling.rewrite(['data.path="~/x (1).jsonl"']))
    assert config.data.path == f"{Path.home()}/x (1).jsonl"


def test_the_home_directory_is_filled_in():
    assert spelling.rewrite(
        ["runs_dir=~/x", 'data.path="~/a b"', "a=x~", "~data.path", "b=~nobody_of_this_name/x"]
    ) == [
        f"runs_dir={Path.home()}/x",
        f'data.path="{Path.home()}/a b"',
        "a=x~",
        "~data.path",
        "b=~nobody_of_this_name/x",
        "data=file",
    ]


@pytest.mark.parametrize(
    "word, part",
    [
        ("data.path", "data.path: a value is missing, as data.path=VALUE"),
        ("dta.path=é", "dta.path: unknown key; did you mean"),
        ("data=é", "data=é: unknown option of data; known: apps"),
        ("+stage=é", "+stage=é: unknown option of stage; known: all"),
        ("seed=é", "seed=é: expected an integer, got 'é'"),
        ("data.tasks=[a b", "'data.tasks=[a,b]' is a list"),
        ("data.path=a\nb", "the value 'a\\nb' has a line end"),
        ("data.path=\udce9", "the value is not UTF-8 text"),
        ('data.path="\udce9"', "the value is not UTF-8 text"),
        ("data.path=/tmp/${x}/b", "data.path: the reference in /tmp/${x}/b names no key of the configuration"),
    ],
)
def test_other_values_that_cannot_be_read_are_one_mistake_too(word, part):
    (line,) = mistakes(word)
    assert part in line
    line.encode()


def test_printed_commands_can_be_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "my runs (2)"
    words = shlex.split(command_line.run_words(runs / "a"))
    assert words == ["run=a", f'runs_dir="{runs}"']
    assert command_line.run_words(tmp_path / RunConfig().runs_dir / "a") == "run=a"
    command_line.remember_overrides(spelling.rewrite([f'data.path="{runs}/x"', "+stage=all"]))
    try:
        assert f'data.path="{runs}/x"' in shlex.split(command_line.command(RunConfig(), "all"))
    finally:
        command_line.remember_overrides([])


def test_halves_of_characters_are_printable():
    assert printable("a\ud800é") == "a\\ud800é" and printable("é") == "é"


def test_commands_are_printed_as_they_were_typed(monkeypatch):
    typed = ["-m", "+stage=[cold_start,reasoning_rl]", "stages.reasoning_rl.optim.lr=1e-4,3e-4", "force=true"]
    config = RunConfig()
    try:
        command_line.remember_overrides(["+stage=[cold_start,reasoning_rl]", "stages.reasoning_rl.optim.lr=1e-4"])
        command_line.remember_typed("run", typed)
        rest = "stages.reasoning_rl.optim.lr=1e-4,3e-4"
        assert command_line.resume_command(config, "reasoning_rl") == (
            f"python -m pipeline run -m '+stage=[cold_start,reasoning_rl]' {rest}"
        )
        assert command_line.command(config, "[base,cold_start]") == (
            f"python -m pipeline run -m '+stage=[base,cold_start]' {rest}"
        )
        assert command_line.own_command(config, "cold_start").endswith(
            "run +stage=cold_start stages.reasoning_rl.optim.lr=1e-4"
        )
        command_line.remember_typed("evaluate", ["model=a b", "eval=[aime24,gpqa]"])
        monkeypatch.setattr("sys.argv", ["/usr/bin/r1"])
        assert command_line.resume_command(config, "evaluate") == "r1 evaluate 'model=a b' 'eval=[aime24,gpqa]'"
    finally:
        command_line.remember_overrides([])
        command_line.remember_typed("", [])
