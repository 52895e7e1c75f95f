"""Prompts of evaluation sets are found in the rows that repeat them, and other rows are left."""

import pytest

from stages.config import MixtureSource
from stages.data.preparing.contamination import EvaluationGrams, prompts_of
from stages.data.preparing.problem_tokens import is_telling, problem_tokens
from tests.support.data_rows import sentence, write_lines


def grams_of(tmp_path, *prompts: str) -> EvaluationGrams:
    path = write_lines(tmp_path / "held.jsonl", [{"prompt": prompt} for prompt in prompts])
    return EvaluationGrams({"held": MixtureSource(path=path)}, 10)


def is_found(tmp_path, prompt: str, row: str) -> bool:
    return bool(grams_of(tmp_path, prompt).contaminated([row])[0])


def test_ten_words_in_a_row_are_contamination(tmp_path):
    held_out = sentence(7, 30).split()
    path = write_lines(tmp_path / "held.jsonl", [{"problem": " ".join(held_out)}, {"problem": "How many primes?"}])
    grams = EvaluationGrams({"held": MixtureSource(path=path, prompt_column="problem")}, 10)
    rows = [
        " ".join([*sentence(8, 9).split(), *held_out[5:15], "end"]),
        " ".join([*sentence(9, 9).split(), *held_out[5:14], "end"]),
        ", ".join(held_out).upper(),
        "how many primes!",
        "How many primes are there?",
        "",
    ]
    assert grams.contaminated(rows).tolist() == [True, False, True, True, False, False] and grams.num_prompts == {
        "held": 2
    }


def test_an_evaluation_set_without_prompts_is_an_error(tmp_path):
    with pytest.raises(
        ValueError,
        match="prepare.against.held.path=.*no prompts in column prompt; name it with "
        "prepare.against.held.prompt_column",
    ):
        EvaluationGrams({"held": MixtureSource(path=write_lines(tmp_path / "held.jsonl", [{"problem": "x"}]))}, 10)


SHORT = [
    "What is 3+5?",
    "Compute $\\sin 60^\\circ$.",
    "Evaluate $|7-24i|$.",
    "Evaluate $\\log_264$.",
    "Compute $\\dbinom{8}{4}$.",
    "Compute $7!$.",
    "Is 91 a prime number?",
    "What is the capital of France?",
    "计算3+5的值。",
    "法国的首都是哪里？",
    "Сколько будет 7-3?",
]


def test_an_evaluation_row_that_cannot_be_read_is_an_error(tmp_path):
    """Nothing would keep its problem out of the training data."""
    path = tmp_path / "test.jsonl"
    path.write_text('{"prompt": "What is two and two?"}\n{"prompt": null}\n')
    with pytest.raises(ValueError, match=r"prepare\.against\.own: 1 of 2 rows cannot be read.*malformed=skip"):
        prompts_of("own", MixtureSource(path=str(path)))
    assert prompts_of("own", MixtureSource(path=str(path)), skips_unread=True) == ["What is two and two?"]


@pytest.mark.parametrize("prompt", SHORT)
def test_a_short_prompt_is_found_inside_of_a_longer_row(tmp_path, prompt):
    assert is_found(tmp_path, prompt, prompt.upper() if prompt.isascii() and "\\" not in prompt else prompt)
    before = "Please answer the following question, and show all of the steps that lead to it: "
    assert is_found(tmp_path, prompt, f"{before}{prompt} Write the result in a box at the end.")
    assert not is_found(tmp_path, prompt, f"{before} What is the largest of the numbers 12 and 17?")


@pytest.mark.parametrize("prompt", ["Find x.", "Solve for x", "Hello!", "你好吗"])
def test_a_prompt_that_says_little_is_found_only_as_a_whole_row(tmp_path, prompt):
    assert is_found(tmp_path, prompt, prompt.lower())
    assert not is_found(tmp_path, prompt, f"Now {prompt.lower()} where 3x + 7 = 22, and write the result in a box.")


@pytest.mark.parametrize(
    ("prompt", "row"),
    [
        ("What is 3+5?", "What is 3-5?"),
        ("What is 3+5?", "What is 3 5?"),
        ("What is 3+5?", "What is 13+5?"),
        ("What is 3+5?", "What is 3+5*2?"),
        ("What is 3+5?", "What is 3.5?"),
        ("Compute 2+3 now", "Compute 1+2+3 now"),
        ("Solve 2x = 8", "Solve 2y = 8"),
        ("Solve x^2 = 8", "Solve x2 = 8"),
        ("Compute 2*(3+4)", "Compute 2*3+4"),
        ("Compute (2*3)+4", "Compute 2*(3+4)"),
        ("Compute 5! now", "Compute 5 now"),
        ("What is 5% of 80?", "What is 5 of 80?"),
        ("Evaluate f'(2) of it", "Evaluate f(2) of it"),
        ("Simplify 3:5 please", "Simplify 3/5 please"),
        ("The points 2, -3 are given", "The points 2-3 are given"),
        ("Compute $-3 + 7$ now", "Compute $3 + 7$ now"),
        ("Compute √9 + 1", "Compute 9 + 1"),
        ("Compute 10² now", "Compute 102 now"),
        ("计算3+5的值", "计算3-5的值"),
        ("计算3×5的值", "计算3÷5的值"),
    ],
)
def test_operators_and_variables_count(tmp_path, prompt, row):
    assert is_found(tmp_path, prompt, prompt) and is_found(tmp_path, row, row)
    assert not is_found(tmp_path, prompt, row) and not is_found(tmp_path, row, prompt)


@pytest.mark.parametrize(
    ("prompt", "row"),
    [
        ("Compute $3 - 5$.", "compute \\(3-5\\)"),
        ("Compute $3 \\times 5$ now.", "Compute 3 × 5 now"),
        ("Compute $3*5$ now.", "**Compute** 3 \\cdot 5 now"),
        ("Solve $x^{2}+3=7$.", "Solve $x^2 + 3 = 7$"),
        ("Is the x-axis a line?", "Is the x\u2011axis a \u201cline\u201d?"),
        ("What is 3+5?", "Ｗhat is\u00a0３＋５?"),
        ("What is 13-5?", "What is 1\u200b3\u22125\u00ad?"),
        ("Qu'est-ce que la moitié de 8\u202f?", "Qu\u2019est-ce que la moitie\u0301 de 8 ?"),
    ],
)
def test_what_only_formats_a_text_does_not_count(tmp_path, prompt, row):
    assert is_found(tmp_path, prompt, row) and is_found(tmp_path, row, prompt)


def test_ten_chinese_characters_in_common_are_not_ten_words(tmp_path):
    prompt = "求满足下列条件的所有正整数n\uff1an的各位数字之和等于n的一半。"
    other = "求满足下列条件的所有正整数m\uff1am的平方除以7余二。"
    assert not is_found(tmp_path, prompt, other)
    assert is_found(tmp_path, prompt, f"例题一\uff1a{prompt}请写出过程。")
    assert is_found(tmp_path, prompt, f"例题二\uff1a{prompt[:18]}\uff0c请证明。")


def test_a_long_line_of_signs_costs_no_more_than_its_length():
    import time

    started = time.perf_counter()
    for signs in ("=", "-", "- ", "(", "\\", "3)", "{", "+ "):
        problem_tokens(signs * 20_000)
    assert time.perf_counter() - started < 5
    assert not is_telling([])
