"""Ordinary right answers are graded as right: part of scripts/bench_graders.py, which has more of them."""

from scripts.bench_graders import competitions, lost, word_problems


def test_answers_as_competitions_have_them_are_right():
    answers = list(competitions())
    assert len(answers) > 100 and not lost(answers)


def test_numbers_of_word_problems_are_right_in_every_ordinary_spelling():
    answers = list(word_problems(4))
    assert len(answers) > 100 and not lost(answers)
