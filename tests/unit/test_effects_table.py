"""scripts/effects_table.py: what it computes from results, on numbers worked by hand."""

import json

import pytest

from scripts import effects_table
from scripts.effects_table import over_runs, pooled


def row(model, name, metric, value, n, half=0.098):
    return {
        "model": model,
        "set": name,
        "metric": metric,
        "value": value,
        "low": value - half,
        "high": value + half,
    } | {"n": n}


def a_run(place, base, zero):
    rows = []
    for model, values in (("base", base), ("r1_zero", zero)):
        for name, value, n in zip(("sums", "legs"), values, (30, 10)):
            rows += [row(model, name, "pass@1", value, n), row(model, name, "format", 0.5, n)]
        rows.append(row(model, "english_general", "pass@1", 0.9, 50))  # no reasoning: it has no format
    directory = place / "evaluate" / "latest"
    directory.mkdir(parents=True)
    (directory / "results.json").write_text(json.dumps(rows))
    texts = [{"model": model, "prompt_id": "a", "prompt": "1+1", "completion": "2\n", "correct": model == "r1_zero"}
             for model in ("base", "r1_zero")]  # fmt: skip
    (directory / "samples.jsonl").write_text("".join(json.dumps(text | {"set": "sums"}) + "\n" for text in texts))
    return place


def test_the_mix_counts_each_problem_once_and_leaves_general_sets_out(tmp_path):
    found = effects_table.read(a_run(tmp_path, (0.1, 0.5), (0.5, 0.9)))
    assert found["base", "mix", "pass@1"] == pytest.approx((0.2, 0.0395), abs=1e-4)  # (3 + 5) / 40; s.e. 0.05 each
    assert found["r1_zero", "mix", "pass@1"][0] == pytest.approx(0.6)


def test_of_several_runs_the_error_is_that_over_runs():
    assert over_runs([(0.2, 9.0), (0.4, 9.0)]) == pytest.approx((0.3, 0.1))
    assert over_runs([(0.2, 0.03)]) == (0.2, 0.03)
    assert pooled([((0.4, 0.1), 5)]) == pytest.approx((0.4, 0.1))


def test_an_effect_says_whether_it_came_and_one_without_its_models_is_left_out(tmp_path):
    runs = [effects_table.read(a_run(tmp_path / "a", (0.1, 0.5), (0.5, 0.9))),
            effects_table.read(a_run(tmp_path / "b", (0.1, 0.5), (0.1, 0.5)))]  # fmt: skip
    table = effects_table.effects(runs).splitlines()
    assert table[2:] == [
        "| R1-Zero over the base | pass@1 | 20.0 ± 0.0 | 40.0 ± 20.0 | +20.0 ± 20.0 | +20 points | yes |"
    ]
    assert "| no |" in effects_table.effects(runs[1:])


def test_completions_before_and_after(tmp_path):
    text = effects_table.completions(a_run(tmp_path, (0.1, 0.5), (0.5, 0.9)), 10)
    assert text.splitlines() == ["**1+1**", "", r"* `base`, wrong: `2\n`", r"* `r1_zero`, right: `2\n`"]


def test_completions_are_shown_where_verdicts_differ_from_each_set_in_turn(tmp_path):
    run = a_run(tmp_path, (0.1, 0.5), (0.5, 0.9))
    verdicts = {"sums": [(False, False), (False, True), (True, False)], "families": [(False, True)]}
    rows = [
        {"model": model, "set": name, "prompt_id": i, "prompt": f"{name} {i}", "completion": "", "correct": correct}
        for name, pairs in verdicts.items()
        for i, pair in enumerate(pairs)
        for model, correct in zip(("base", "r1_zero"), pair)
    ]
    (run / "evaluate" / "latest" / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = [line for line in effects_table.completions(run, 3).splitlines() if line.startswith("**")]
    assert shown == ["**sums 1**", "**families 0**", "**sums 2**"]


def test_exactly_as_much_as_was_wanted_is_enough():
    assert 0.7833335 - 0.6833335 < 0.1  # as floating point has it
    assert effects_table.gains(0.1)(0.7833335, 0.6833335) and effects_table.gains(-0.03)(0.77, 0.8)
    assert not effects_table.gains(0.1)(0.783, 0.684) and not effects_table.gains(-0.03)(0.769, 0.8)
    assert 0.1 > 0.3 / 3  # and here
    (rude,) = (effect for effect in effects_table.EFFECTS if effect.metric == "rude")
    assert rude.holds(0.1, 0.3) and rude.holds(0.0, 0.0) and not rude.holds(0.101, 0.3)


def test_a_mean_over_runs_that_is_exactly_at_a_limit_came():
    name = "preference_rl", "english_safety", "benign_refused"
    (benign,) = (effect for effect in effects_table.EFFECTS if effect.metric == name[2])
    runs = [{name: (value, 0.0), ("rejection_sft", *name[1:]): (0.4, 0.0)} for value in (0.15 + 1e-9, 0.15)]
    assert effects_table.effect_row(benign, runs).endswith("| yes |")
    assert effects_table.effect_row(benign, [{**runs[0], name: (0.151, 0.0)}]).endswith("| no |")
