"""README and docs/ state what is true: their commands, keys, exit codes, paths and make targets exist."""

import functools
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from pipeline.commands.app import COMMANDS, make_app
from pipeline.configuration.compose import compose_config
from pipeline.configuration.defaults import default_tree
from pipeline.configuration.graph import nodes
from pipeline.configuration.keys import UnknownKey, look_up
from pipeline.configuration.overrides import check_overrides
from pipeline.configuration.schema import RunConfig
from pipeline.configuration.spelling import rewrite
from pipeline.errors import EXIT_CODES
from pipeline.planning import estimate
from tests.support.hollow_models import hollow_model
from tests.support.paths import REPOSITORY

ARCHITECTURE = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS_PAGE = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
LEFT_OUT = ("pretrain", "reward_models", "report")  # not run with models and prompts of one's own
HISTORY = {"CHANGELOG.md"}  # names what is gone
NAMES_ALONE = ("grade", "logs", "rollouts", "use", "compare", "models cut")
PLACEHOLDER = re.compile(r"\$[A-Z]|\.\.\.|=NAME\b|\bNUMBER\b")  # a form, or a shell's variable; the tutorial has a test


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^ *```\w*\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)


def inline_code(text: str) -> list[str]:
    """What stands in single backquotes outside of code blocks."""
    without_blocks = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", without_blocks)


def command_lines(text: str) -> list[str]:
    """Every `r1 ...` of a page, from its blocks and its prose."""
    blocks = "\n".join(code_blocks(text)).replace("\\\n", " ")
    lines = [line.strip() for line in blocks.splitlines() if line.strip().startswith("r1 ")]
    return lines + [code for code in inline_code(text) if re.match(r"r1 [a-z]", code)]


def all_lines() -> list[pytest.param]:
    """Every distinct command of all pages, named after the first page that has it."""
    first = {}
    for page in PAGES:
        if page.name not in HISTORY:
            for line in command_lines(page.read_text(encoding="utf-8")):
                if not PLACEHOLDER.search(line):
                    first.setdefault(tuple(shlex.split(line, comments=True)), page)
    return [pytest.param(words, id=f"{name_of(page)}: {' '.join(words)}"[:120]) for words, page in first.items()]


def test_there_are_commands_to_check():
    assert len(command_lines(README)) > 10 and len(all_lines()) > 50


@pytest.mark.parametrize("words", all_lines())
def test_commands_are_known_and_their_overrides_compose(words):
    _, command, *arguments = words
    assert command in COMMANDS
    if " ".join(words[1:]) in NAMES_ALONE:  # as in the table of commands
        return
    app = make_app([command])
    _, bound, _ = app.parse_args([command, *arguments], exit_on_error=False, print_error=False)
    overrides = list(bound.args) if arguments else []  # `r1 data` alone is a heading, not a call
    if command in ("run", "plan"):
        is_sweep = "-m" in arguments or any(text.startswith("+sweep=") for text in overrides)
        assert composed(tuple(rewrite(overrides)), is_sweep).selection or not overrides
    if command in ("evaluate", "data"):
        assert not check_overrides(rewrite([text for text in overrides if not text.startswith("model=")]))[0]


@functools.cache
def composed(overrides: tuple[str, ...], is_sweep: bool) -> RunConfig:
    """The configuration of these overrides; `plan` and `run` share it."""
    return compose_config(list(overrides), is_sweep)


def test_every_command_is_in_the_table():
    assert set(COMMANDS) <= {line.split()[1] for line in command_lines(README)}
    assert set(COMMANDS) == set(re.findall(r"^\| `r1 (\w+)` \|", COMMANDS_PAGE, flags=re.MULTILINE))


def test_exit_codes_are_those_of_the_program():
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", COMMANDS_PAGE, flags=re.MULTILINE)
    assert {int(code): text for code, text in rows} == EXIT_CODES


def tree_paths() -> list[str]:
    """The paths of the tree block: names stand before two spaces, folders end in a slash."""
    block = ARCHITECTURE.split("## The tree")[1].split("```")[1]
    paths, folder = [], ""
    for line in block.strip("\n").splitlines():
        names = re.split(r"  +", line.strip())[0].split() if line.strip() else []
        if not line.startswith(" "):
            folder = names[0] if names[0].endswith("/") else ""
            paths += names
        else:
            paths += [folder + name for name in names]
    return paths


@pytest.mark.parametrize("path", tree_paths())
def test_tree_shows_what_is_there(path):
    assert (REPOSITORY / path).exists()


def named_paths(text: str) -> list[str]:
    """Paths of the repository that a page names in code: folders and files, without examples of a user's own."""
    words = [word for code in inline_code(text) for word in code.split()]
    words += [word for block in code_blocks(text) for word in block.split()]
    found = [re.split(r"::|:(?=\D)", word.strip("'\"(),;"))[0] for word in words]
    pattern = re.compile(r"(?:pipeline|stages|conf|scripts|tests|docs)/[\w./-]*")
    return [word for word in found if pattern.fullmatch(word)]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=name_of)
def test_paths_exist(page):
    missing = [
        path
        for path in dict.fromkeys(named_paths(page.read_text(encoding="utf-8")))
        if not (REPOSITORY / path).exists() and not re.search(r"\b[A-Z]{4,}\b|conf/local/default", path)
    ]
    assert not missing


def keys(text: str) -> set[str]:
    """Keys of the configuration that a page names, such as `data.path` or `rollout.engine=vllm`."""
    found = {code.partition("=")[0] for code in inline_code(text)}
    found = {key.removesuffix(".KEY") for key in found if re.fullmatch(r"[a-z_0-9]+(\.\w+)+", key)}
    files = re.compile(r"\.(md|py|json|jsonl|parquet|html|yaml|j2)$")
    modules = {f"stages.{path.name}" for path in (REPOSITORY / "stages").iterdir()}
    return {
        key
        for key in found
        if key.split(".")[0] in RunConfig.__dataclass_fields__
        and not files.search(key)
        and ".".join(key.split(".")[:2]) not in modules
    }


def is_known(key: str) -> bool:
    """Whether the schema has the key; NAME, X and STAGE stand for some stage, SUITE for some suite."""
    for stage in default_tree()["stages"]:
        try:
            look_up(re.sub(r"^stages\.[A-Z]+\.", f"stages.{stage}.", key.replace("SUITE", "aime24")))
            return True
        except UnknownKey:
            pass
    return False


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=name_of)
def test_keys_exist(page):
    assert not [key for key in keys(page.read_text(encoding="utf-8")) if not is_known(key)]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=name_of)
def test_make_targets_exist(page):
    targets = re.findall(
        r"^([a-z0-9-]+):.*##", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    text = page.read_text(encoding="utf-8")
    code = [*"\n".join(code_blocks(text)).splitlines(), *inline_code(text)]
    named = [found[1] for line in code if (found := re.match(r"make ([a-z0-9-]+)", line))]
    assert set(named) <= set(targets)


def test_messages_that_the_page_of_troubles_explains_are_printed():
    """Each piece of a message in its tables, between the dots and the placeholders, stands in the code."""
    text = (REPOSITORY / "docs" / "guides" / "trouble.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)
    pieces = [piece.strip() for message in messages for piece in re.split(r"\.\.\.|\b[A-Z]+\b", message)]
    files = [path for half in ("pipeline", "stages") for path in (REPOSITORY / half).rglob("*.py")]
    code = re.sub(r'"\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in files))  # joined literals
    assert len(messages) > 15
    assert not [piece for piece in pieces if len(piece) > 4 and piece not in code]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_fit(page):
    """Prose and code fit into 120 columns; only rows of tables are longer, what the program prints, and a template."""
    if page.name == "ux.md":
        return
    lines = page.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith(("|", "TEMPLATE"))]


def test_readme_is_short_and_its_links_are_there():
    assert len(README.splitlines()) <= 130
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 20 and all((REPOSITORY / link).exists() for link in links)
    assert (REPOSITORY / "docs" / "assets" / "report.png").stat().st_size < 300_000


@pytest.mark.parametrize(
    ("recipe", "base", "student"),
    [("one_gpu", "qwen25_math_15b", "qwen25_05b"), ("one_node", "qwen25_7b", "qwen25_math_15b")],
)
def test_hours_and_disk_of_a_gpu_recipe_are_what_the_plan_estimates(recipe, base, student, tmp_path):
    """The models have the shapes of those that the recipes name, and no numbers."""
    for name, size in (("base", base), ("student", student)):
        hollow_model(tmp_path / name, size)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "1+1", "answer": "2"}\n')
    models = [f"model.path={tmp_path}/base", f"student.path={tmp_path}/student"]
    config = compose_config(
        ["+stage=all", f"recipe={recipe}", *models, "data=file", f"data.path={tmp_path}/rows.jsonl"]
    )
    stages = [node for node in nodes(config) if node.name in config.selection and node.kind not in LEFT_OUT]
    hours = sum(estimate.seconds(node, config.stage(node.name), config) for node in stages) / 3600
    disk_gib = sum(estimate.disk_gib(node.name, config.stage(node.name), config) for node in stages)
    said_hours, said_disk, unit = re.search(rf"`{recipe}`.*\| ([\d,]+), .*\| ([\d.]+) (GiB|TiB),", README).groups()
    assert hours == pytest.approx(float(said_hours), rel=0.05)
    assert disk_gib == pytest.approx(float(said_disk) * (1024 if unit == "TiB" else 1), rel=0.05)


def test_citation_is_of_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_example_file_is_what_the_configuration_reads(tmp_path):
    path = tmp_path / "problems.jsonl"
    subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "make_problems.py", path, "--num", "20"], check=True, timeout=60
    )
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({row["prompt"] for row in rows}) == 20 and all(int(row["answer"]) > 0 for row in rows)
