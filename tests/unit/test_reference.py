"""The configuration reference: every key once, with its unit, its range and its source."""

import re
from typing import get_args

import pytest

from pipeline.configuration.keys import all_keys
from pipeline.configuration.reference import TITLES, as_markdown, own_fields, sections
from stages.config import GrpoConfig, OptimConfig, fields_of, unit_of

TEXT = as_markdown()
LR = fields_of(OptimConfig)["lr"]
ROWS = {
    line.split("`")[1]: re.split(r"(?<!\\)\|", line)[1:-1] for line in TEXT.splitlines() if line.startswith("| <a id")
}


def test_every_key_of_the_schema_is_documented():
    documented = {
        f"{place}.{name}" if place else name
        for cls, places in sections().items()
        for place in places
        for name in own_fields(cls)
    }
    assert set(sections()) == set(TITLES)
    for key in all_keys():
        if not key.startswith(("selected.", "eval.")):
            assert key in documented, key
    assert "eval.NAME.temperature" in documented and "students.NAME.distill" in documented


def test_a_key_is_documented_once_with_all_its_columns():
    anchors = re.findall(r'<a id="([^"]+)">', TEXT)
    assert len(anchors) == len(set(anchors)) == len(ROWS) == sum(len(own_fields(cls)) for cls in TITLES) > 300
    assert all(len(cells) == 8 for cells in ROWS.values())


def test_links_lead_to_sections():
    headings = {line[3:].lower().replace(" ", "-") for line in TEXT.splitlines() if line.startswith("## ")}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings


@pytest.mark.parametrize(
    "key, cells",
    [
        (
            "stages.STAGE.optim.lr",
            ["number", "`3e-06`", "> 0, ≤ 1", "–", "[N], [V2 B.4.2]", "yes", LR.description],
        ),
        (
            "stages.r1_zero.group_size",
            ["integer", "`16`", "> 1", "completions", "[N]", "yes", fields_of(GrpoConfig)["group_size"].description],
        ),
    ],
)
def test_a_row_says_all_that_the_schema_does(key, cells):
    assert [cell.strip() for cell in ROWS[key]][1:] == cells


@pytest.mark.parametrize(
    "key, column, cell",
    [
        ("rollout.engine", 3, "`vllm`, `transformers`, `server`"),
        ("stages.STAGE.optim.betas", 3, "≥ 0, < 1"),
        (
            "stages.r1_zero.correction",
            3,
            "`none`, `token_truncate`, `token_mask`, `sequence_truncate`, `sequence_mask`",
        ),
        ("data.path", 1, "text or null"),
        ("data.path", 2, "`null`"),
        ("stages.r1_zero.max_completion_tokens", 1, "list of list of integer"),
        ("student.distill", 1, "some keys of [Supervised fine-tuning](#supervised-fine-tuning)"),
        ("data.sources", 1, "mapping of names to [Sources of a mixture](#sources-of-a-mixture)"),
        ("stages.cold_start.template", 2, "as `data.template`"),
        ("stages.evaluate.precision", 2, "as `deepspeed.precision`"),
        ("health.kl_limit", 6, "no"),
        ("judge.url", 6, "no"),
        ("seed", 6, "yes"),
        ("runs_dir", 6, "no"),
        ("launcher.grace_s", 6, "no"),
        ("data", 6, "–"),
    ],
)
def test_cells(key, column, cell):
    assert ROWS[key][column].strip() == cell


def number_fields() -> list:
    def has_number(annotation) -> bool:
        return annotation in (int, float) or any(has_number(part) for part in get_args(annotation))

    return [
        pytest.param(field, id=f"{cls.__name__}.{name}")
        for cls in TITLES
        for name, field in own_fields(cls).items()
        if has_number(field.annotation)
    ]


@pytest.mark.parametrize("field", number_fields())
def test_every_number_has_a_unit(field):
    assert unit_of(field)


@pytest.mark.parametrize("cls", TITLES, ids=lambda cls: cls.__name__)
def test_descriptions_are_for_people(cls):
    for name, field in own_fields(cls).items():
        assert field.description and field.description.endswith("."), name
    assert cls.__doc__ and len(cls.__doc__.splitlines()[0]) > 10
