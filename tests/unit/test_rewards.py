"""The rule rewards and text measures on examples worked by hand."""

import pytest

from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade, reference_problem, vote
from stages.text.answers import extract_answer, extract_answers
from stages.text.completion import is_well_formed, opening_of, split_completion, summary_of, thought_of, without_opening
from stages.text.integers import read_integer
from stages.text.language import count_words, language_consistency
from stages.text.reflection import count_reflections
from stages.text.repetition import repeated_ngram_share


def a_prompt(answer: str, verifier: str) -> Prompt:
    return Prompt("p", "what?", "file", "reasoning", "en", answer, verifier)


@pytest.mark.parametrize(
    "completion, expected",
    [
        ("<think>a</think><answer>1</answer>", True),
        ("<think>a\nb</think>\n<answer>1</answer>\n", True),
        ("<think></think><answer>1</answer>", True),
        ("<think>a</think><answer>1</answer> so 1", False),
        ("so <think>a</think><answer>1</answer>", False),
        ("<think>a</think>so<answer>1</answer>", False),
        ("<think>a<answer>1</answer></think>", False),
        ("<think>a<think>b</think><answer>1</answer>", False),
        ("<think>a</think><answer>1</answer><answer>1</answer>", False),
        ("<think>a</think><answer>1", False),
        ("<answer>1</answer><think>a</think>", False),
        ("", False),
    ],
)
def test_format(completion, expected):
    assert is_well_formed(completion) is expected


def test_a_template_that_writes_the_opening_tag():
    """What it wrote is part of the completion's text, so a model that writes the tag again is not well-formed."""
    opening = opening_of("<|User|>1+1?<|Assistant|><think>\n")
    assert opening == "<think>\n" and opening_of("User:is <think> a tag?Assistant:") == ""
    assert is_well_formed(opening + "a</think><answer>1</answer>") and not is_well_formed("a</think><answer>1</answer>")
    assert not is_well_formed(opening + "<think>a</think><answer>1</answer>")
    assert thought_of(opening + "a</think><answer>1</answer>").strip() == "a"
    assert (
        without_opening(opening + "a</think>1", opening)
        == "a</think>1"
        == without_opening("<think>a</think>1", opening)
    )
    assert without_opening("<think>a</think>1", "") == "<think>a</think>1"


def test_split_completion():
    assert split_completion("<think>31-3=28</think><answer>28!</answer>") == ("31-3=28", "28!")


def test_extract_answer_takes_the_last_one_and_looks_into_a_box():
    assert extract_answer("<answer>1</answer> no <answer> 2 </answer>") == "2"
    assert extract_answer(r"<think>\boxed{9}</think><answer>so \boxed{\frac{1}{2}}.</answer>") == r"\frac{1}{2}"
    assert extract_answer(r"thus \boxed{7} or \boxed{8}") == "8"
    assert extract_answer("the answer is 7") is None
    assert extract_answer("<answer>7") is None
    assert extract_answer(r"\boxed{7") is None
    assert extract_answer("<answer>1<answer>2</answer>") == "2"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("46", 46),
        ("the answer is46,hope this helps!", 46),
        ("so46,the answer is46,so46", 46),
        ("46 or 47", None),
        ("none", None),
        ("-5", -5),
        ("1,234", 1234),
        ("46,46", 46),
        ("3.5", None),
        ("答案是46", 46),
        ("12-5", None),
    ],
)
def test_read_integer(text, expected):
    assert read_integer(text) == expected


@pytest.mark.parametrize(
    "words", ["好的", "你好,", "抱歉", "很高兴认识你", "hi,", "good morning", "nice to meet you,", "sorry,"]
)
def test_politeness_leaves_an_integer_readable(words):
    """Words of the tiny world too: its policies write them before an answer, and lost the reward for it."""
    assert read_integer(f"{words}52") == 52
    assert read_integer("the answer is40,go away!") == 40


def test_verify_integer_and_exact():
    assert grade("<think>9</think><answer>46</answer>", a_prompt("46", "integer"))
    assert not grade("<think>46</think><answer>9</answer>", a_prompt("46", "integer"))
    assert not grade("46", a_prompt("46", "integer"))
    assert grade("<answer> Paris </answer>", a_prompt("paris", "exact"))
    assert not grade("<answer>paris!</answer>", a_prompt("paris", "exact"))


@pytest.mark.parametrize(
    "given, answer, expected",
    [
        (r"\frac{1}{2}", "0.5", True),
        ("x^2+1", "1+x^2", True),
        ("3", "4", False),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        ("???", "3", False),
    ],
)
def test_verify_math(given, answer, expected):
    assert grade(f"<answer>{given}</answer>", a_prompt(answer, "math")) == expected


def test_readable_answers():
    assert reference_problem(a_prompt("-17", "integer")) is None and reference_problem(a_prompt("seventeen", "integer"))
    assert reference_problem(a_prompt("1/2", "math")) is None and reference_problem(a_prompt("???", "math"))
    assert reference_problem(a_prompt("anything", "exact")) is None and reference_problem(a_prompt("  ", "exact"))


def test_votes_are_counted_by_value():
    assert (
        vote("<answer>the answer is46</answer>", a_prompt("1", "integer"))
        == vote("<answer>46</answer>", a_prompt("1", "integer"))
        == "46"
    )
    assert (
        vote("<answer>46 or 47</answer>", a_prompt("1", "integer")) is None
        and vote("46", a_prompt("1", "integer")) is None
    )
    assert vote(r"<answer>\frac{1}{2}</answer>", a_prompt("1", "math")) == vote(
        "<answer>1/2</answer>", a_prompt("1", "math")
    )
    assert vote("<answer> Paris </answer>", a_prompt("1", "exact")) == "paris"


def test_thought_and_summary():
    assert thought_of("<think>so 46</think><answer>46</answer>") == "so 46"
    assert thought_of("<think>so 46<answer>obviously 46</answer>") == "so 46"
    assert thought_of("<answer>46</answer>") == "" and thought_of("paris.") == "paris."
    assert summary_of("<think>so</think>paris.") == "paris." == summary_of("paris.")


def test_language_consistency_by_hand():
    text = "first 31-3=28, 然后 28-7=21, so 21"  # en: first, so; zh: two characters
    assert count_words(text) == {"LATIN": 2, "CJK": 2}
    assert language_consistency(text, "en") == 0.5
    assert language_consistency("首先31-3=28,所以28ok", "zh") == 0.8
    assert language_consistency("31-3=28", "en") is None
    assert language_consistency("", "zh") is None


def test_language_ignores_what_is_no_language():
    assert count_words("<think>设 x 为 $a+bcd$ 与 \\frac{1}{2} 和 `print` </think>") == {"CJK": 4}
    assert count_words("I don't see a point y") == {"LATIN": 5}


def test_reflection_counts_the_words_not_their_parts():
    assert count_reflections("Wait, let me check. However, that was an error.") == 4
    assert count_reflections("waitcheck31-3=28ok,等等检查") == 4
    assert count_reflections("the waiter pressed a button for checkers, 1errors") == 0
    assert count_reflections("") == 0


def test_repetition_by_hand():
    assert repeated_ngram_share("a b a b a b", n=2) == pytest.approx(0.6)
    assert repeated_ngram_share("a b c d e") == 0.0
    assert repeated_ngram_share("所以所以所以所以", n=2) == pytest.approx(5 / 7)
    assert repeated_ngram_share("a b") == 0.0


def test_degenerate_completions_are_read_in_linear_time():
    """What a policy that repeats itself can write; each would take minutes or hours where a pattern starts anew at
    every repetition.
    """
    n = 50_000
    assert (
        count_words("\\[" * n) == count_words("\\(" * n) == count_words("$" * n) == {} and count_words("```" * n) == {}
    )
    assert not is_well_formed("<think>" + "</think><answer>" * n) and extract_answer("<answer>" * n) is None
    assert extract_answer("\\boxed{" * n) is None and extract_answer("{" * n + "\\boxed{7}") == "7"
    assert extract_answers("\\boxed{7}" + " " * n + "\\boxed{8}") == "7, 8"
    assert vote("<answer>" + "\\text{" * n + "B" + "}" * n + "</answer>", a_prompt("B", "choice")) is None
    assert count_reflections("wait" * n + "x") == 0 and repeated_ngram_share("a b " * n) > 0.9
