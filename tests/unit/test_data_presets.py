"""Every preset of conf/data/ on a few rows of the published schema (tests/fixtures/data_schemas/, our content)."""

import json

import pytest

from pipeline.configuration.data_sources import preset, preset_names
from stages.config import DataConfig, from_dict
from stages.data.adapters import ADAPTERS
from stages.data.adapters.math import last_boxed
from stages.data.file_prompts import FilePrompts
from stages.data.malformed import Malformed
from stages.data.pairs import preference_pairs, safety_labels, sft_pairs
from stages.data.rows import rows_of
from stages.rewards.grading import VERIFIERS, reference_problem
from stages.text.completion import is_well_formed
from tests.support.paths import FIXTURES
from tests.support.runs import config

SCHEMAS = FIXTURES / "data_schemas"
GENERATED_OR_OWN = {"tiny_world", "reasoning_gym", "file", "prepared"}
SETS = [name for name in preset_names() if name not in GENERATED_OR_OWN]


def data_of(name: str):
    return from_dict(DataConfig, {**preset(name), "path": f"{SCHEMAS / name}.jsonl", "files": None, "eval_fraction": 0})


def split(name: str):
    """(rows that are used, reasons of the others) of a set's sample."""
    items = list(rows_of(data_of(name)))
    return [item for item in items if not isinstance(item, Malformed)], [
        item.reason for item in items if isinstance(item, Malformed)
    ]


@pytest.mark.parametrize("name", SETS)
def test_each_set_has_a_licence_files_and_a_sample_that_is_read(name):
    keys = preset(name)
    assert keys["path"].count("/") == 1 and keys["files"] and keys["license"] and keys["malformed"] == "skip"
    assert keys["revision"] is None or len(keys["revision"]) == 40
    used, _ = split(name)
    assert used
    for row in used if keys.get("rows", "prompts") == "prompts" else []:
        assert row.answer or row.checks
        assert row.verifier in VERIFIERS


def test_a_preset_is_chosen_by_its_name_and_takes_a_copy():
    data = config("data=gsm8k", f"data.path={SCHEMAS}").data
    assert (data.name, data.path, data.adapter, data.license, data.files) == (
        "file",
        str(SCHEMAS),
        "gsm8k",
        "MIT",
        "main/train-*.parquet",
    )


def test_all_adapters_are_used_by_a_preset():
    assert {preset(name).get("adapter", "none") for name in SETS} == set(ADAPTERS)


@pytest.mark.parametrize(
    "name, answers",
    [
        ("gsm8k", ["42", "1250"]),
        ("math", [r"\frac{2}{3}", r"\{2\}"]),
        ("openr1_math", ["81"]),
        ("numina_math_cot", ["3"]),
        ("numina_math_15", ["6"]),
        ("deepscaler", ["6", r"\frac{1}{2}"]),
        ("dapo_math", ["35", "32"]),
        ("webinstruct_verified", ["30", "7"]),
        ("mmlu_pro", ["B"]),
    ],
)
def test_answers_are_found_and_their_verifier_reads_them(name, answers):
    source = FilePrompts(data_of(name), seed=1)
    prompts = {prompt.id: prompt for index in range(50) for prompt in [source.get(index)]}
    assert [prompts[key].answer for key in sorted(prompts)] == answers
    assert not [reference_problem(prompt) for prompt in prompts.values() if reference_problem(prompt)]


def test_what_is_left_out_is_counted_with_its_reason():
    assert split("math")[1] == ["no boxed answer in the solution"]
    assert split("numina_math_15")[1] == [
        "a proof, or no answer",
        "a proof, or no answer",
        "marked as not valid or a proof",
    ]
    assert split("ultrafeedback")[1] == ["a tie"] and split("helpsteer2")[1] == ["a tie"]
    assert split("helpsteer3")[1] == ["a tie", "a chat of several turns"]
    assert split("mixture_of_thoughts")[1] == ["no chain of thought, or no solution after it"]


def test_dapo_prompts_lose_their_instructions():
    assert [row.prompt for row in split("dapo_math")[0]] == [
        "Find the least positive multiple of 7 above 30.",
        "Find $2^5$.",
    ]


@pytest.mark.parametrize("name", ["sciq", "gpqa_diamond"])
def test_the_right_option_is_where_the_letter_says(name):
    (row,), _ = split(name)
    right = {"sciq": "heart", "gpqa_diamond": "neutron"}[name]
    assert f"\n{row.answer}. {right}\n" in row.prompt and row.prompt.count("\nA. ") == row.prompt.count("\nD. ") == 1


def test_tests_of_programs():
    used, left_out = split("apps")
    stdin, call = (json.loads(row.checks) for row in used)
    assert stdin == {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]} and left_out == ["no tests"]
    assert call["fn_name"] == "add" and call["inputs"] == [[1, 2], [3, 4]] and "def add(a, b):" in used[1].prompt
    assert (
        json.loads(split("taco")[0][0].checks)["time_limit_s"] == 2.0
        and json.loads(split("taco")[0][0].checks)["memory_mib"] == 256
    )
    contests = json.loads(split("code_contests")[0][0].checks)
    assert [test["output"] for test in contests["tests"]] == ["3\n", "10\n", "0\n"] and (
        contests["time_limit_s"],
        contests["memory_mib"],
    ) == (1.5, 244)
    (problem,), _ = split("codeforces")
    assert json.loads(problem.checks) == {
        "type": "stdin",
        "tests": [{"input": "1 2", "output": "3"}, {"input": "9 9", "output": "18"}],
        "time_limit_s": 1.0,
        "memory_mib": 256,
    }
    assert split("codeforces")[1] == ["needs its own checker", "reads files", "interactive", "no tests"]
    assert split("code_contests")[1] == ["needs an image"]
    assert problem.id == "1/A" and "## Input\n\nTwo integers." in problem.prompt


def test_chats_give_their_first_exchange():
    assert [(p.text, completion) for p, completion in sft_pairs(data_of("tulu3"))["file"]] == [
        ("Be brief.\n\nName a colour.", "Blue."),
        ("Translate 'Haus'.", "House."),
    ]
    assert [(p.text, p.domain, completion) for p, completion in sft_pairs(data_of("ultrachat"))["file"]] == [
        ("Suggest a name for a cat.", "helpful", "Miso.")
    ]


@pytest.mark.parametrize("name", ["mixture_of_thoughts", "open_thoughts", "openr1_math_sft"])
def test_traces_are_brought_to_our_form(name):
    for _, completion in sft_pairs(data_of(name))["file"]:
        assert is_well_formed(completion)


def test_preferences_name_the_better_completion():
    assert [(pair.chosen, pair.rejected) for pair in preference_pairs(data_of("ultrafeedback"))] == [
        ("Water that falls from clouds.", "Stuff.")
    ]
    assert [pair.chosen for pair in preference_pairs(data_of("helpsteer2"))] == ["In water, seven minutes.", "No idea."]
    (pair,) = preference_pairs(data_of("helpsteer3"))
    assert (pair.prompt.text, pair.chosen, pair.prompt.kind) == ("What is snow?", "Frozen water.", "general")
    assert [pair.chosen for pair in preference_pairs(data_of("pku_preferences"))] == ["Take a bent pin and ..."]
    assert [(label.completion[:7], label.is_safe) for label in safety_labels(data_of("pku_saferlhf"))] == [
        ("I would", True),
        ("Take a ", False),
    ]


@pytest.mark.parametrize(
    "text, found",
    [
        (r"\boxed{1} then \boxed{\frac{1}{\sqrt{2}}}.", r"\frac{1}{\sqrt{2}}"),
        (r"\fbox{3}", "3"),
        (r"\boxed 7$", "7"),
        ("none", None),
        (r"\boxed{", None),
        (r"\boxed{}", None),
    ],
)
def test_the_last_box(text, found):
    assert last_boxed(text) == found
