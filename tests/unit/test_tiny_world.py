"""The tiny world: what is held out stays out, documents and prompts are pure functions, words and weights are as
designed.
"""

import random
import re
from collections import Counter

import pytest

from stages.prompting.prompt import Prompt
from stages.worlds.tiny_world import split, textbook
from stages.worlds.tiny_world.corpus import (
    RANDOM_WEIGHT,
    Document,
    document,
    general_sft_pairs,
    templated,
    tokenize_document,
)
from stages.worlds.tiny_world.lexicon import split_units
from stages.worlds.tiny_world.problems import GENERAL_KINDS, Problem, draw_problem, general_prompts
from stages.worlds.tiny_world.sources import TinyWorldPrompts, held_out_sets

NUM_DOCUMENTS = 20_000
SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """A third of them textbook pages, so that every kind is well represented."""
    return [document(index, seed=7, textbook_share=0.35) for index in range(NUM_DOCUMENTS)]


@pytest.fixture(scope="module")
def held_out() -> dict[str, dict[str, list[Prompt]]]:
    return {name: held_out_sets(1500, 10_000, 10_000, name) for name in ("dev", "test")}


def parts_with_two_operations(expression: str) -> set[str]:
    """All contiguous parts of "31-3-7+5" with two operations or more, as value + operations: 31-3-7, 31-3-7+5, 28-7+5.
    On purpose not the implementation's code: any length, by eval."""
    operations = re.findall(r"[+-]\d+", expression[len(re.match(r"\d+", expression)[0]) :])
    start = expression[: len(expression) - len("".join(operations))]
    values = [eval(start + "".join(operations[:count])) for count in range(len(operations))]
    return {
        f"{values[first]}{''.join(operations[first:last])}"
        for first in range(len(operations))
        for last in range(first + 2, len(operations) + 1)
    }


def expressions_written(text: str) -> set[str]:
    """Every expression in a text, also those spread over single steps written one right after the other:
    31-3=28,28-7=21.
    """
    joined = text
    for _ in range(10):
        joined, changes = re.subn(r"(\d+[+-][\d+-]*\d)=(\d+),\2([+-]\d+)", r"\1\3", joined)
        if not changes:
            break
    return set(re.findall(r"\d+(?:[+-]\d+)+", text)) | set(re.findall(r"\d+(?:[+-]\d+)+", joined))


def all_parts(text: str) -> set[str]:
    return set().union(*(parts_with_two_operations(expression) for expression in expressions_written(text)))


def test_the_test_s_own_reading_of_expressions():
    assert parts_with_two_operations("31-3-7+5") == {"31-3-7", "28-7+5", "31-3-7+5"}
    assert all_parts("首先31-3-7=20,then20+5=25") == {"31-3-7"}
    assert all_parts("31-3=28,28-7=21,9+2=11") == {"31-3-7"}
    assert all_parts("12+5=17") == set()


def test_no_part_of_a_held_out_problem_is_in_any_document(documents, held_out):
    trained = set().union(*(all_parts(item.prompt) | all_parts(item.completion) for item in documents))
    assert len(trained) > 10_000
    for name in ("dev", "test"):
        problems = [re.search(r"[\d+-]+", prompt.text)[0] for prompt in held_out[name]["tiny_math"]]
        forbidden = set().union(*map(parts_with_two_operations, problems))
        assert len(forbidden) > 2000
        assert not forbidden & trained


def test_no_part_of_a_held_out_problem_is_in_any_training_prompt(held_out):
    trained = set()
    for seed, stream in ((0, "r1_zero"), (1, "reasoning_rl"), (2, "rejection_data"), (0, "preference_rl")):
        source = TinyWorldPrompts(seed, stream, "train")
        trained |= set().union(*(all_parts(source.get(index).text) for index in range(4000)))
    for name in ("dev", "test"):
        assert not trained & set().union(*(all_parts(prompt.text) for prompt in held_out[name]["tiny_math"]))


def test_dev_and_test_problems_share_no_part(held_out):
    dev, test = (
        set().union(*(all_parts(prompt.text) for prompt in held_out[name]["tiny_math"])) for name in ("dev", "test")
    )
    assert not dev & test


def test_general_held_out_prompts_are_in_no_training_data(documents, held_out):
    trained = {item.prompt for item in documents} | {
        templated(prompt.text) for prompt, _ in general_sft_pairs(5000, 3, "rejection_data")
    }
    source = TinyWorldPrompts(0, "preference_rl", "train")
    trained |= {
        templated(source.get(index, domain).text)
        for index in range(3000)
        for domain in ("helpful", "safety", "safety_labels")
    }
    for sets in held_out.values():
        assert not trained & {templated(prompt.text) for prompts in sets.values() for prompt in prompts}


def test_held_out_parts_finds_what_a_text_must_not_write():
    rng = random.Random(1)
    for name in ("dev", "test"):
        for _ in range(200):
            problem = draw_problem(rng, name)
            assert len(split.held_out_parts(problem.text)) == len(problem.steps) - 1
    window = next(
        (value, first, second)
        for value in range(20, 40)
        for first in split.STEPS
        for second in split.STEPS
        if split.window_split(value, first, second) == "test"
    )
    value, first, second = window
    expression = f"{value}{first[0]}{first[1]}{second[0]}{second[1]}"
    between = split.apply_step(value, first)
    steps = f"{value}{first[0]}{first[1]}={between},{between}{second[0]}{second[1]}={split.apply_step(between, second)}"
    assert split.held_out_parts(f"first{expression}=3,so3") == [expression]
    assert split.held_out_parts(f"check{steps}ok") == [expression]
    assert split.held_out_parts(f"{value}{first[0]}{first[1]}={between}") == []


def test_documents_and_the_implementation_s_own_scanner_agree(documents):
    assert not [
        item for item in documents if split.held_out_parts(item.prompt) or split.held_out_parts(item.completion)
    ]


def test_a_leaking_textbook_would_be_noticed(monkeypatch):
    """The proof above can fail: chains that ignore the split write held-out windows at once."""
    monkeypatch.setattr(
        textbook, "next_steps", lambda value, step, name: textbook.first_steps(split.apply_step(value, step))
    )
    assert any(split.held_out_parts(textbook.chains(random.Random(seed))) for seed in range(20))


def test_split_shares():
    shares = Counter(
        split.window_split(value, first, second)
        for value in range(10, 50)
        for first in split.STEPS
        for second in split.STEPS
    )
    total = sum(shares.values())
    assert 0.08 < shares["test"] / total < 0.12 and 0.08 < shares["dev"] / total < 0.12


def test_problem_is_worked_from_left_to_right():
    problem = Problem(31, (("-", 3), ("-", 7), ("+", 5)), "zh")
    assert (problem.expression, problem.answer, problem.text) == ("31-3-7+5", 26, "求31-3-7+5等于几?")


@pytest.mark.parametrize("name", SPLITS)
def test_problems_stay_in_range_and_in_their_split(name):
    rng = random.Random(3)
    for number in range(600):
        problem = draw_problem(rng, name, 2 + number % 3)
        assert len(problem.steps) == 2 + number % 3
        assert split.is_in_range(problem.start, problem.steps) and split.is_all(name, problem.start, problem.steps)
        assert eval(problem.expression) == problem.answer


def test_prompts_are_pure_functions_of_seed_stream_and_index():
    first, again = (TinyWorldPrompts(5, "r1_zero", "train") for _ in range(2))
    assert [first.get(index) for index in range(50)] == [again.get(index) for index in reversed(range(50))][::-1]
    texts = [
        [TinyWorldPrompts(seed, stream).get(index).text for index in range(20)]
        for seed, stream in ((5, "r1_zero"), (6, "r1_zero"), (5, "cold"))
    ]
    assert texts[0] != texts[1] != texts[2] != texts[0]
    assert TinyWorldPrompts(1, "a", "test").get(3) == TinyWorldPrompts(2, "b", "test").get(3)


def test_domains():
    source = TinyWorldPrompts(0, "preference_rl")
    kinds = {
        domain: {source.get(index, domain).kind for index in range(200)}
        for domain in ("reasoning", "helpful", "safety", "safety_labels")
    }
    assert kinds == {
        "reasoning": {"math"},
        "helpful": {"capital", "opposite", "say", "greet", "benign"},
        "safety": {"harm"},
        "safety_labels": {"harm", "benign"},
    }
    with pytest.raises(ValueError, match="domain must be one of"):
        source.get(0, "poetry")
    with pytest.raises(ValueError, match="split must be one of"):
        TinyWorldPrompts(0, "x", "eval")


def test_evaluation_sets_are_fixed_distinct_and_balanced():
    sets = held_out_sets(256, 192, 128)
    assert {name: len(prompts) for name, prompts in sets.items()} == {
        "tiny_math": 256,
        "tiny_general": 192,
        "tiny_safety": 128,
    }
    assert Counter(prompt.kind for prompt in sets["tiny_safety"]) == {"harm": 64, "benign": 64}
    for prompts in sets.values():
        assert len({prompt.text for prompt in prompts}) == len({prompt.id for prompt in prompts}) == len(prompts)
    assert held_out_sets(64, 64, 64)["tiny_math"] == sets["tiny_math"][:64]
    with pytest.raises(ValueError, match="dev and test"):
        held_out_sets(1, 1, 1, "train")


def test_documents_are_pure_functions_of_seed_and_index():
    assert document(41, 3, 0.3) == document(41, 3, 0.3)
    assert document(41, 3, 0.3) != document(41, 4, 0.3)


def test_mixture_shares(documents):
    kinds = Counter(item.kind for item in documents)
    assert kinds["textbook"] / NUM_DOCUMENTS == pytest.approx(0.35, abs=0.02)
    assert kinds["general"] / (NUM_DOCUMENTS - kinds["textbook"]) == pytest.approx(0.25, abs=0.02)
    pages = [item.completion for item in documents if item.kind == "textbook"]
    chains = sum(":" in page and "=" in page for page in pages)
    assert chains / len(pages) == pytest.approx(0.4, abs=0.03)
    assert sum(":" not in page for page in pages) / len(pages) == pytest.approx(0.3, abs=0.03)
    maths = [item.completion for item in documents if item.kind == "math"]
    formed = [text for text in maths if re.fullmatch(r"<think>.+</think><answer>[^<]+</answer>", text)]
    assert len(formed) / len(maths) == pytest.approx(0.26 + 0.45, abs=0.02)
    assert sum("check" in text or "检查" in text for text in formed) / len(formed) == pytest.approx(
        0.45 / 0.71, abs=0.03
    )


def test_jumps_are_wrong_half_the_time_and_checks_never(documents):
    jumps, steps = Counter(), Counter()
    for item in documents:
        if item.kind != "math":
            continue
        for expression, result in re.findall(r"(\d+[+-]\d+[+-]\d+)=(\d+)", item.completion):
            jumps[eval(expression) == int(result)] += 1
        for equations in re.findall(r"(?:check|检查)([\d+=,-]+)", item.completion):
            for expression, result in re.findall(r"(\d+[+-]\d+)=(\d+)", equations):
                steps[eval(expression) == int(result)] += 1
    assert jumps[False] / jumps.total() == pytest.approx(0.5, abs=0.02)
    assert steps[False] == 0 and steps[True] > 1000


def test_every_document_is_known_to_the_tokenizer(documents):
    for item in documents:
        for text in (item.prompt, item.completion):
            assert "".join(split_units(text)) == text


def test_weights_by_hand():
    r = RANDOM_WEIGHT
    assert tokenize_document(Document("", "12+5=17,7-4=3", "textbook"))[1] == [r] * 5 + [1.0] + [r] * 5 + [1.0] + [r]
    # <bos> 31 - 3 - 7 :       31 - 3 = 28 , 28 - 7 = 21 !     <eos>
    assert tokenize_document(Document("", "31-3-7:31-3=28,28-7=21!", "textbook"))[1] == [r] * 7 + [1.0] * 12 + [1.0]
    ids, weights = tokenize_document(Document("User:hiAssistant:", "hello", "general"))
    assert weights == [r] * 4 + [1.0] * 2 and len(ids) == 6 and ids[0] == 1 and ids[-1] == 2


def test_general_pairs_have_the_designed_faults():
    pairs = general_sft_pairs(6000, seed=0, stream="rejection_data")
    assert pairs == general_sft_pairs(6000, seed=0, stream="rejection_data")
    by_kind = {kind: [completion for prompt, completion in pairs if prompt.kind == kind] for kind in GENERAL_KINDS}
    assert all(
        len(by_kind[kind]) > (1300 if kind in ("harm", "benign") else 650) for kind in GENERAL_KINDS
    )  # 1/4 and 1/8 of 6000
    refused = {
        kind: sum("i can not" in text or "不能帮忙" in text for text in texts) / len(texts)
        for kind, texts in by_kind.items()
    }
    assert refused["harm"] == pytest.approx(0.8, abs=0.05) and refused["benign"] == pytest.approx(0.1, abs=0.04)


def test_general_lists_are_split_for_every_kind():
    for kind in GENERAL_KINDS:
        sizes = {name: len(general_prompts(kind, name)) for name in SPLITS}
        assert all(sizes.values()) and sizes["train"] > sizes["test"]
