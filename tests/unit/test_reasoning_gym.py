"""reasoning-gym as a source: every family draws, survives JSON and grades; streams are pure, apart and isolated;
hostile answers never run.
"""

import json
import random
from fractions import Fraction

import numpy
import pytest

from pipeline.configuration import compose, spelling
from pipeline.errors import InvalidConfig
from stages.config import DataConfig
from stages.data.prompt_sources import evaluation_sets, make_source
from stages.rewards.grading import grade, reference_problem, vote
from stages.rewards.pool import WorkerPool
from stages.rewards.verifiers import reasoning_gym_worker as verifier
from stages.worlds.reasoning_gym import entries, families, guards
from stages.worlds.reasoning_gym.source import is_held_out

pytestmark = pytest.mark.slow  # draws from every family of the library

SEEDS = {"knight_swap": (14, 17), "sokoban": (14, 15)}  # most others of these two take seconds
LARGE = ("arc_agi", "codeio", "figlet_font")  # a second to make a generator
FLOORS = {"figlet_font": 0.2, "spell_backward": 0.2}  # partial credit for a text by its letters; elsewhere at most 0.05
SMALL = DataConfig(
    name="reasoning_gym",
    tasks=["chain_sum", "gcd", "spell_backward"],
    task_weights=[2, 1, 1],
    task_configs={
        "chain_sum": {"max_terms": 4, "max_digits": 1},
        "gcd": {"max_value": 30},
        "spell_backward": {"max_word_len": 5},
    },
)


def answered(text: str) -> str:
    return f"<think>so</think><answer>{text}</answer>"


def test_fractions_survive_json_which_some_problems_of_gsm_symbolic_have():
    entry = {"metadata": {"variables": {"share": Fraction(1, 3), "shares": (Fraction(-2, 5),)}}}
    assert entries.loads(entries.dumps(entry)) == entry


@pytest.mark.parametrize("task", families.usable())
def test_every_family_draws_survives_json_and_grades(task):
    seeds = SEEDS.get(task, (11, 12, 13))
    drawn = [families.draw(task, {}, seed) for seed in seeds]
    assert (
        families.draw(task, {}, seeds[0]) == drawn[0]
    )  # a pure function of the seed, though its generator is used again and again
    assert len({entry["question"] for entry in drawn}) > 1
    for entry in drawn:
        held = entries.dumps({"task": task, "config": {}, "entry": entry})
        assert entries.loads(held)["entry"] == entry  # tuples and numbers as keys included
        if task in families.NO_REFERENCE:
            assert entry["answer"] is None
        else:
            assert verifier.score(entry["answer"], held) == 1
        for wrong in ("", "qqq", "I do not know"):
            assert verifier.score(wrong, held) <= FLOORS.get(task, 0.05), wrong
        for other in drawn:  # one answer for all problems would be the first thing that reinforcement learning finds
            is_another = (
                other["answer"] is not None and other["answer"] != entry["answer"] and task != "n_queens"
            )  # whose boards have several solutions
            assert not is_another or verifier.score(other["answer"], held) < 1


def test_a_generator_that_is_used_again_draws_what_a_fresh_one_does():
    import reasoning_gym

    for task in families.usable():
        if task in LARGE or task in families.DRAWN_WHEN_MADE:
            continue
        seed = SEEDS.get(task, (99,))[-1]
        families.draw(task, {}, SEEDS.get(task, (5,))[0])
        with families.isolated_random(seed):
            fresh = reasoning_gym.create_dataset(task, seed=seed, size=1)[0]
        assert families.draw(task, {}, seed) == fresh, task


def test_the_families_that_are_left_out_are_left_out_for_the_reason_given():
    assert set(families.EXCLUDED) == {"composite", "game_of_life_halting"} and len(families.usable()) >= 100
    import reasoning_gym

    halting = reasoning_gym.create_dataset("game_of_life_halting", seed=1, size=1)
    assert halting.score_answer("any text at all", halting[0]) == 1


def test_generators_do_not_disturb_the_global_random_state():
    random.seed(7), numpy.random.seed(7)
    expected = random.random(), numpy.random.random()
    random.seed(7), numpy.random.seed(7)
    for task in ("pool_matrix", "list_functions", "chain_sum"):  # the first two draw from the global generators
        families.draw(task, {}, 3)
    assert (random.random(), numpy.random.random()) == expected
    random.seed(1)
    first = families.draw("list_functions", {}, 3)
    random.seed(2)
    assert families.draw("list_functions", {}, 3) == first


def test_prompts_are_a_pure_function_of_seed_stream_and_index():
    source = make_source(SMALL, 0, "r1_zero")
    prompts = [source.get(index) for index in range(200)]
    assert [make_source(SMALL, 0, "r1_zero").get(index) for index in reversed(range(200))][::-1] == prompts
    for other in (make_source(SMALL, 1, "r1_zero"), make_source(SMALL, 0, "reasoning_rl")):
        assert sum(other.get(index).text == prompts[index].text for index in range(200)) < 20
    kinds = [prompt.kind for prompt in prompts]
    assert 70 <= kinds.count("chain_sum") <= 130 and set(kinds) == set(SMALL.tasks)  # half of them by weight
    one = prompts[0]
    assert (one.domain, one.language, one.verifier) == ("reasoning", "en", "reasoning_gym") and one.id.startswith(
        f"{one.kind}-train-000000-"
    )
    assert (
        reference_problem(one) is None
        and grade(answered(one.answer), one) == 1
        and vote(answered(f" {one.answer} "), one) == one.answer.casefold()
    )
    with pytest.raises(ValueError, match="mix.helpful=0"):
        source.get(0, "helpful")


def test_no_training_prompt_is_a_held_out_problem():
    sets = evaluation_sets(SMALL, 160, 0, 0)
    assert {name: len(prompts) for name, prompts in sets.items()} == {"chain_sum": 80, "gcd": 40, "spell_backward": 40}
    assert evaluation_sets(SMALL, 40, 0, 0) == {name: prompts[: len(prompts) // 4] for name, prompts in sets.items()}
    held_out = [prompt for prompts in sets.values() for prompt in prompts]
    assert len({prompt.text for prompt in held_out}) == len(held_out)
    texts = {prompt.text for prompt in held_out}
    pairs = {
        tuple(sorted(entries.loads(prompt.checks)["entry"]["metadata"]["numbers"]))
        for prompt in held_out
        if prompt.kind == "gcd"
    }
    for stream in ("r1_zero", "reasoning_rl", "corpus"):
        for prompt in (make_source(SMALL, 3, stream).get(index) for index in range(400)):
            held = entries.loads(prompt.checks)
            assert prompt.text not in texts and not is_held_out(held["task"], held["entry"], SMALL.eval_fraction)
            assert (
                prompt.kind != "gcd" or tuple(sorted(held["entry"]["metadata"]["numbers"])) not in pairs
            )  # nor with its numbers the other way round


def test_a_family_without_enough_problems_says_so():
    data = DataConfig(
        name="reasoning_gym", tasks=["gcd"], task_configs={"gcd": {"min_value": 3, "max_value": 4}}, eval_fraction=0.01
    )
    with pytest.raises(ValueError, match="gcd gave no test problem .* too few different problems"):
        evaluation_sets(data, 4, 0, 0)


def test_prompts_that_are_too_long_are_an_error_that_names_one():
    source = make_source(SMALL, 0, "r1_zero")
    with pytest.raises(ValueError, match="data.max_prompt_tokens is 5: raise it .* data.task_configs."):
        source.check_lengths(lambda prompts: [prompt.text.split() for prompt in prompts], 5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"tasks": ["countdwn"]}, "no family 'countdwn'; did you mean countdown?"),
        ({"tasks": []}, "tasks is empty: name families"),
        ({"tasks": ["gcd", "gcd"]}, "tasks names gcd twice"),
        ({"tasks": ["game_of_life_halting"]}, "game_of_life_halting cannot be used: its grader"),
        ({"tasks": ["gcd"], "task_weights": [1.0, 2.0]}, "one number of at least 0 for each of the 1 tasks"),
        (
            {"tasks": ["gcd"], "task_configs": {"gcd": {"max_valu": 9}}},
            "task_configs.gcd.max_valu: unknown key; did you mean max_value?",
        ),
        ({"tasks": ["gcd"], "task_configs": {"gcd": {"seed": 9}}}, "task_configs.gcd.seed: unknown key"),
        (
            {"tasks": ["gcd"], "task_configs": {"gcd": {"max_value": -9}}},
            "task_configs.gcd: max_value must be > min_value",
        ),
        (
            {"tasks": ["gcd"], "task_configs": {"lmc": {}}},
            "task_configs: reasoning-gym has no family 'lmc'; did you mean lcm?",
        ),
    ],
)
def test_mistakes_are_found_before_anything_starts(settings, message):
    with pytest.raises(ValueError) as caught:
        make_source(DataConfig(name="reasoning_gym", **settings), 0, "r1_zero")
    assert message in str(caught.value)


def test_the_command_line_takes_settings_of_families_and_says_a_mistake_once():
    made = compose.compose_config(
        spelling.rewrite(
            ["data=reasoning_gym", "data.tasks=[gcd]", "data.task_configs.gcd.max_value=20", "+stage=evaluate"]
        )
    )
    assert made.stages.evaluate.data.task_configs == {"gcd": {"max_value": 20}} == made.data.task_configs
    assert made.stages.evaluate.num_general == 0 and made.stages.preference_rl.rewards.preference == 0
    with pytest.raises(InvalidConfig) as caught:
        compose.compose_config(spelling.rewrite(["data=reasoning_gym", "data.tasks=[gdc]"]))
    assert caught.value.errors == ["data.tasks: reasoning-gym has no family 'gdc'; did you mean gcd?"]


HOSTILE = [
    "__import__('os').system('touch {path}')",
    "[__import__('os').system('touch {path}')]",
    "open('{path}', 'w')",
    "(lambda: open('{path}', 'w'))()",
    "[c for c in open('{path}', 'w')]",
    "[].__class__.__base__.__subclasses__()",
    "x.__class__",
    "f\"{{open('{path}', 'w')}}\"",
    "exec('1')",
    "9**9**9**9",
    "((9**99)**99)**99",
    "(" * 5000,
    "[" * 5000 + "]" * 5000,
    "1" * 100_000,
    "x" * 1000 + "!",
    "eval('1')",
    "factorial(10**9)",
    "'a'*10**10",
    "{{}}",
]


@pytest.mark.parametrize("task", guards.LITERALS + guards.ARITHMETIC + guards.FORMULAS)
def test_hostile_answers_are_never_run(task, tmp_path):
    entry = families.draw(task, {}, 4)
    held = entries.dumps({"task": task, "config": {}, "entry": entry})
    for template in HOSTILE:
        assert verifier.score(template.format(path=tmp_path / "escaped"), held) <= 0.01, template
    assert not list(tmp_path.iterdir())


def test_an_answer_that_hangs_its_grader_is_a_zero_with_its_reason_and_does_not_hold_others_up():
    entry = families.draw("coin_flip", {}, 4)
    held = entries.dumps({"task": "coin_flip", "config": {}, "entry": entry})
    pool = WorkerPool("stages.rewards.verifiers.reasoning_gym_worker", 2, cpu_s=2.0, wall_s=60.0, memory_mib=2048)
    slow, right = pool.run([("score", "1e999999999", held), ("score", entry["answer"], held)])
    pool.close()
    assert slow.value is None and "killed" in slow.error and right.value == 1


def test_honest_answers_pass_the_guards():
    def score(task, seed, change):
        entry = families.draw(task, {}, seed)
        return verifier.score(change(entry), entries.dumps({"task": task, "config": {}, "entry": entry}))

    assert score("countdown", 4, lambda e: f"0 + ({e['answer']})") < 1  # another number than the given ones
    assert score("countdown", 4, lambda e: f"({e['answer']})") == 1
    assert score("simple_integration", 4, lambda e: e["answer"] + " - 7") == 1  # any constant
    assert score("polynomial_multiplication", 4, lambda e: f"1*({e['answer']})") == 1
    assert (
        score("binary_matrix", 4, lambda e: json.dumps(e["metadata"]["solution"])) == 0.1
    )  # a list instead of lines: partial credit
    assert score("n_queens", 4, lambda e: e["answer"]) == 1
    numbers = families.draw("puzzle24", {}, 4)["metadata"]["numbers"]
    assert sorted(numbers) != [3, 4, 6, 10] and score("puzzle24", 4, lambda e: "3*(10 + 4 - 6)") == 0
