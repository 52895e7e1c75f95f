"""Pairs and labels for the reward models: judged, read from files, balanced in length."""

import json

import pytest

from stages import judges
from stages.config import DataConfig, JudgeConfig, MixtureSource, RewardModelsConfig
from stages.kinds.reward_models.labels import Label, labels
from stages.kinds.reward_models.preferences import (
    Preference,
    balanced,
    choose_pairs,
    judged_pairs,
    length_correlation,
    preferences,
)
from tests.support.quiet_worker import Quiet
from tests.support.rollouts import a_prompt


def pair(longer_by: int, base: int = 10) -> Preference:
    return Preference("p", "c" * (base + longer_by), "r" * base)


def test_length_correlation_by_hand():
    assert (
        length_correlation([pair(2), pair(2)]) == 1
        and length_correlation([pair(2), pair(-2)]) == 0
        and length_correlation([pair(-3)]) == -1
    )
    assert (
        length_correlation([pair(4), pair(-2)]) == pytest.approx(1 / 10**0.5)
        and length_correlation([]) == length_correlation([pair(0)]) == 0
    )


def test_pairs_are_chosen_so_that_lengths_balance():
    candidates = [[pair(5), pair(4)], [pair(6), pair(-3), pair(-4)], [pair(1), pair(9)]]
    assert [p.length_gap for p in choose_pairs(candidates, 1)] == [4, -4, 1]
    assert [p.length_gap for p in choose_pairs(candidates, 2)] == [4, 5, -4, -3, 1, 9]
    assert choose_pairs([[], [pair(1)]], 3) == [pair(1)]


def test_what_leans_most_is_left_out():
    pairs = [pair(1), pair(9), pair(-2), pair(5), pair(0)]  # chosen longer by 13 of 113 characters: 13 > 0.1 * 56.5
    assert [p.length_gap for p in balanced(pairs, 0.1)] == [1, -2, 5, 0]  # 4 <= 0.1 * 42
    assert balanced(pairs, 10) == pairs and balanced([], 0.1) == []
    assert [p.length_gap for p in balanced([pair(-9), pair(1)], 0.1)] == [1]
    left = balanced([pair(n % 7) for n in range(100)], 0.05)
    assert (
        0 < len(left) < 100
        and sum(p.length_gap for p in left) <= 0.05 * sum(len(p.chosen) + len(p.rejected) for p in left) / 2
    )


def test_judged_pairs_of_the_tiny_world(tmp_path, request):
    settings = type("Config", (), {"judge": JudgeConfig()})
    stage = {"dir": tmp_path / "r" / "s" / "0", "rank": 0, "attempt": 1, "config": settings, "kind": "reward_models"}
    request.addfinalizer(judges.close_stage)
    judges.open_stage(type("Stage", (), stage))
    worker = Quiet()
    prompt = a_prompt("capital", "paris")
    (pairs, nothing) = judged_pairs(
        worker,
        RewardModelsConfig(min_gap=1.0),
        [
            (prompt, ["<think>so</think>paris.", "go away!", "paris.", "rome."]),
            (a_prompt("capital", "rome", id="p1"), ["rome."]),
        ],
    )
    assert {(p.chosen, p.rejected) for p in pairs} == {
        ("paris.", "go away!"),
        ("paris.", "rome."),
        ("rome.", "go away!"),
    } and nothing == []
    assert worker.metrics["helpful/judged"] == 3 and worker.metrics["helpful/unjudged"] == 0, (
        "a thought is no part of the summary"
    )


def data(tmp_path) -> DataConfig:
    pairs, labels = tmp_path / "pairs.jsonl", tmp_path / "labels.jsonl"
    pairs.write_text(
        "".join(
            json.dumps({"prompt": f"q{n}", "chosen": f"<think>long thought</think>good {n}", "rejected": f"bad {n}"})
            + "\n"
            for n in range(9)
        )
    )
    labels.write_text(
        "".join(
            json.dumps({"prompt": f"q{n}", "completion": f"so {n}", "is_safe": n % 2 == 0}) + "\n" for n in range(9)
        )
    )
    return DataConfig(
        name="file",
        sources={
            "pairs": MixtureSource(path=str(pairs), rows="preferences", domain="helpful"),
            "labels": MixtureSource(path=str(labels), rows="labels", domain="safety"),
        },
    )


def test_pairs_and_labels_from_files_need_no_judge(tmp_path):
    config, worker = (
        RewardModelsConfig(
            data=data(tmp_path), num_prompts=6, num_safety_prompts=2, safety_samples_per_prompt=2, max_length_bias=10
        ),
        Quiet(),
    )
    pairs = preferences(worker, config, None)
    assert len(pairs) == 6 and all(
        p.chosen == f"good {p.prompt[1:]}" and p.rejected == f"bad {p.prompt[1:]}" for p in pairs
    )
    assert worker.metrics["helpful/candidates"] == 6 and worker.metrics["helpful/length_correlation"] == 1
    found = labels(worker, config, None)
    assert len(found) == 4 and all(
        label == Label(label.prompt, f"so {label.prompt[1:]}", int(label.prompt[1:]) % 2 == 0) for label in found
    )
    assert preferences(Quiet(), config, None) == pairs


def test_a_domain_without_data_has_none(tmp_path):
    only = DataConfig(name="file", sources={"labels": data(tmp_path).sources["labels"]})
    assert preferences(Quiet(), RewardModelsConfig(data=only), None) == []
