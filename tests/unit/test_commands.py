"""The words of the command line: help, version, mistakes, and what reaches Hydra. No stage is run."""

import re
import subprocess
import sys
import time

import pytest

from pipeline.__main__ import main
from pipeline.commands.app import COMMANDS, make_app
from pipeline.commands.hydra_command_line import HydraOptions
from pipeline.commands.reference import as_markdown
from pipeline.configuration.keys import groups
from pipeline.errors import EXIT_CODES
from tests.support.paths import REPOSITORY

ALL_COMMANDS = [[name] for name in COMMANDS] + [["data", name] for name in ("inspect", "prepare", "fetch")]
ENGINES_AND_PREFECT = ("torch", "transformers", "vllm", "deepspeed", "prefect")


@pytest.fixture
def say(capsys, monkeypatch):
    """Carries out a command line; returns its exit code and what it printed, without line breaks of the terminal."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str]:
        code = main(list(words))
        return code, capsys.readouterr().out

    return call


def hydra_words(*words: str) -> tuple[list[str], list[str]]:
    """The words for Hydra's parser, and the overrides, of a command line of `run`."""
    _, bound, _ = make_app(["run"]).parse_args(["run", *words], exit_on_error=False, print_error=False)
    return bound.arguments.get("hydra", HydraOptions()).arguments(), list(bound.args)


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("words", ALL_COMMANDS, ids=" ".join)
def test_every_command_has_its_own_help(say, words, flag):
    code, text = say(*words, flag)
    name = " ".join(words)
    assert code == 0 and text.startswith(f"Usage: r1 {name}")
    assert "Examples" in text and f"r1 {name}" in text.split("Examples")[1] and "Exit codes" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_overview_says_what_the_commands_own_help_says(name):
    assert make_app(COMMANDS)[name].help.partition("\n")[0] == COMMANDS[name]


def test_the_overview(say):
    code, text = say("--help")
    assert code == 0 and all(name in text for name in COMMANDS)
    assert all(f"{code}: {meaning}" in text.replace("`", "") for code, meaning in EXIT_CODES.items() if code != 1)
    assert say("help") == (0, text) and say() == (2, text)
    assert say("help", "status") == say("status", "--help")


def test_a_command_of_commands_alone_is_not_enough(say):
    code, text = say("data")
    assert code == 2 and all(name in text for name in ("inspect", "prepare", "fetch"))


def test_help_stands_anywhere_and_runs_nothing(say):
    code, text = say("run", "+stage=all", "--help")
    assert code == 0 and "--multirun" in text
    for group, options in groups().items():
        assert f"{group}: {options[0]}" in text


@pytest.mark.parametrize("words", [["--version"], ["status", "--version"], ["run", "--version"]])
def test_version(say, words):
    assert re.fullmatch(r"r1 \d+\.\d+\.\d+\n", say(*words)[1])


@pytest.mark.parametrize(
    "line, message",
    [
        ("stauts", "stauts: no such command; commands are run, plan,.* did you mean status\\?"),
        ("--verson", "--verson: no such flag"),
        ("data inspct data=gsm8k", "inspct: no such command; .* did you mean inspect\\?"),
        ("status --jsn", "--jsn: status knows no such flag; .* did you mean --json\\?"),
        ("status --no-json", "--no-json: status knows no such flag; .* did you mean --json\\?"),
        ("status --price", "--price needs a value"),
        ("compare tiny", "RUN_B is missing; see r1 compare --help"),
        ("logs r1zero", "r1zero: no such stage; stages are base, .*did you mean r1_zero"),
        ("status --price cheap", "--price cheap: not a number"),
        ("status --price=cheap", "--price cheap: not a number"),
        ("plan +stage=all --jsn", "--jsn: plan knows no such flag; .* did you mean --json\\?"),
        ("evaluate --fast", "--fast: evaluate knows no such flag"),
        ("report --ouput x", "did you mean --output\\?"),
        ("chat --promt x", "did you mean --prompt\\?"),
        ("publish --too a/b", "did you mean --to\\?"),
        ("data fetch --yes", "--yes: data fetch knows no such flag"),
        ("clean --yse", "did you mean --yes\\?"),
        ("doctor --nonsense", "--nonsense: doctor knows no such flag; it has --quick"),
        ("doctor run=tiny", "run=tiny: doctor takes options only"),
        ("run +stage=all --multrun", "did you mean --multirun\\?"),
        ("run +stage=all --cfg jb", "Choose from: .*job.*hydra.*all"),
        ("run +stage=all --info nonsense", "Choose from: .*defaults-tree"),
        ("status sead=1", "sead: status reads the disk; it knows run=NAME and runs_dir=DIRECTORY"),
    ],
)
def test_mistakes_name_what_there_is_and_exit_with_2(say, line, message):
    code, text = say(*line.split())
    assert code == 2 and re.search(message, text), text


def test_options_may_stand_between_overrides():
    assert hydra_words("+stage=all", "-m", "seed=1,2", "--cfg", "job", "~x", "++a.b={c: -1}") == (
        ["--multirun", "--cfg=job"],
        ["+stage=all", "seed=1,2", "~x", "++a.b={c: -1}"],
    )


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--cfg=job", "-p", "stages", "--resolve"], ["--cfg=job", "--package=stages", "--resolve"]),
        (["-c", "hydra"], ["--cfg=hydra"]),
        (["-i"], ["--info=all"]),
        (["--info", "defaults-tree"], ["--info=defaults-tree"]),
        (["--info=plugins"], ["--info=plugins"]),
        (["-cd", "mine", "--config-name=other"], ["--config-dir=mine", "--config-name=other"]),
        (["--multirun", "-m"], ["--multirun"]),
        (["--hydra-help", "-r"], ["--run", "--hydra-help"]),
    ],
)
def test_every_spelling_of_an_option_reaches_hydra(words, expected):
    assert hydra_words("+stage=all", *words) == (expected, ["+stage=all"])


def test_options_that_only_show():
    assert (
        HydraOptions(cfg="job").only_shows
        and HydraOptions(info=[]).only_shows
        and HydraOptions(hydra_help=True).only_shows
    )
    assert not HydraOptions().only_shows and not HydraOptions(multirun=True, config_dir="x").only_shows


def test_options_take_their_value_with_or_without_an_equals_sign_and_before_or_after_overrides():
    for words in (["--price", "2.5", "run=a", "--json"], ["run=a", "--json", "--json", "--price=2.5"]):
        _, bound, _ = make_app(["status"]).parse_args(["status", *words], exit_on_error=False, print_error=False)
        assert bound.args == ("run=a",) and bound.kwargs == {"as_json": True, "price": 2.5}
    _, bound, _ = make_app(["chat"]).parse_args(["chat", "--prompt", "-3+5=?"], exit_on_error=False, print_error=False)
    assert bound.kwargs == {"prompt": "-3+5=?"}


@pytest.mark.parametrize(
    "line, expected",
    [
        ("r1 ", set(COMMANDS)),
        ("r1 st", set(COMMANDS)),
        ("r1 status --c", {"--json", "--cost", "--price", "--help"}),
        ("r1 clean run=a --", {"--yes", "--logs", "--unfinished", "--help"}),
        ("r1 evaluate --", {"--help"}),
        ("r1 logs rea", {"reasoning_rl"}),
        ("r1 rollouts r1", {"r1_zero"}),
        ("r1 use stu", {"student_base", "student_rl"}),
        ("r1 compare sec", {"second"}),
        ("r1 status run=", {"run=first", "run=second"}),
        ("r1 data --", {"--help"}),
    ],
)
def test_the_shell_completes_commands_and_their_options(say, monkeypatch, tmp_path, line, expected):
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMP_LINE", line)
    code, text = say("-sc", "query=bash")
    assert code == 0 and set(text.split()) == expected


def test_the_reference_has_every_command_and_option(say):
    text = as_markdown(heading_level=3)
    headings = re.findall(r"^(#+) (r1 .+)$", text, flags=re.MULTILINE)
    own = {"data": ("inspect", "prepare", "fetch"), "models": ("get", "check", "cut")}
    expected = []
    for name in COMMANDS:
        expected += [("###", f"r1 {name}"), *(("####", f"r1 {name} {word}") for word in own.get(name, ()))]
    assert headings == expected
    for name in ("--json", "--price USD", "--output FILE", "--to OWNER/NAME", "--unfinished", "--quick", "--cfg"):
        assert f"`{name}" in text or f", {name}" in text, name
    assert text.count("**Examples**") == text.count("**Exit codes**") == len(headings)
    assert "Table of Contents" not in text and not re.search(r"^#+ *$", text, flags=re.MULTILINE)


def test_only_one_module_gives_hydra_its_command_line():
    """hydra.main reads sys.argv; whoever else set it would be a second way in."""
    paths = (REPOSITORY / "pipeline").rglob("*.py")
    users = [path.name for path in paths if re.search(r"sys\.argv = |hydra\.main\(", path.read_text(encoding="utf-8"))]
    assert users == ["hydra_command_line.py"]


def test_help_is_fast_and_loads_neither_hydra_nor_engines():
    code = (
        "import sys\nfrom pipeline.__main__ import main\nassert main(['--help']) == 0\n"
        f"assert not {{'hydra', 'omegaconf', *{ENGINES_AND_PREFECT}}} & set(sys.modules)"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True)
    assert time.monotonic() - started < 5  # 0.2 s on an idle machine; the tests' machine is busy
