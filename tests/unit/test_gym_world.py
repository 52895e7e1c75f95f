"""The world of reasoning-gym families that a base is pretrained in: its tokenizer, its corpus, and that nothing held
out is in it.
"""

import random
import re

import pytest

from pipeline.configuration import compose
from pipeline.errors import InvalidConfig
from stages.config import DataConfig
from stages.data.prompt_sources import evaluation_sets, make_source
from stages.prompting.encoding import Encoder, encode_prompts
from stages.rewards.verifiers.reasoning_gym_worker import score
from stages.text.completion import is_well_formed
from stages.worlds.base import make_world
from stages.worlds.reasoning_gym import examples, families
from stages.worlds.reasoning_gym.source import ReasoningGymPrompts
from stages.worlds.reasoning_gym.tokenizer import TAGS, common_words

pytestmark = pytest.mark.slow  # makes thousands of documents

RECIPE = compose.compose_config(["recipe=reasoning_gym_cpu", "+stage=all"])
DATA = RECIPE.data
WORLD = make_world(DATA)
TOKEN = {index: token for token, index in WORLD.vocabulary.ids.items()}


def text_of(ids: list[int]) -> str:
    return "".join(TOKEN[index] for index in ids[1:-1])


def test_the_hugging_face_tokenizer_agrees_with_the_vocabulary_and_knows_all_of_the_corpus():
    tokenizer = WORLD.build_tokenizer()
    for index in range(300):
        ids, weights = WORLD.document(index, 0, 0.3)
        assert (
            tokenizer(text_of(ids))["input_ids"] == ids[:-1] and len(weights) == len(ids) <= RECIPE.model.max_positions
        )
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids[1:-1], clean_up_tokenization_spaces=False) == text_of(ids)
    assert len(tokenizer) % 32 == 0 and [TOKEN[index] for index in WORLD.number_token_ids()] == [
        str(number) for number in range(100)
    ]
    assert [TOKEN[index] for index in tokenizer("".join(TAGS))["input_ids"][1:]] == list(TAGS)
    assert [TOKEN[index] for index in tokenizer("aFind the, so 7", add_special_tokens=False)["input_ids"]] == [
        "a",
        "F",
        "i",
        "n",
        "d",
        " the",
        ", so ",
        "7",
    ]


def test_common_words_carry_their_space():
    assert common_words(["Find the gcd of 3", "Find the word abc", "Find it", "Find it"]) == [
        " abc",
        " gcd",
        " it",
        " of",
        " the",
        " word",
        "Find",
    ]
    assert common_words(["Find the gcd"] * 9 + ["odd one"]) == [" gcd", " the", "Find"]


def test_documents_are_a_pure_function_of_seed_and_index():
    assert WORLD.document(7, 0, 0.3) == make_world(DATA).document(7, 0, 0.3) != WORLD.document(7, 1, 0.3)


def test_no_document_holds_a_held_out_problem():
    held_out = {prompt.text for prompts in evaluation_sets(DATA, 400, 0, 0).values() for prompt in prompts}
    for index in range(4000):
        text = text_of(WORLD.document(index, 0, 0.3)[0])
        question = re.match("User:(.*)Assistant:", text, re.DOTALL)
        assert not question or question[1] not in held_out
        # the shortest chain has four terms; what a document writes down has three at most
        assert not re.search(r"\d[+-]\d+[+-]\d+[+-]\d", text.split("Assistant:")[-1])
    assert DATA.task_configs["chain_sum"]["min_terms"] == 4


@pytest.mark.parametrize("task", sorted(examples.WRITERS))
def test_checked_examples_are_right_and_hasty_ones_wrong_half_of_the_time(task):
    source = ReasoningGymPrompts(DATA, 0, "corpus", tasks=[task])
    right = {True: 0, False: 0}
    for index in range(300):
        _, _, entry = source.entry(index)
        for checks in right:
            thought, answer = examples.WRITERS[task](random.Random(index), entry, checks)
            assert answer and thought.endswith(f", so {answer}") and ("wait check" in thought) == checks
            right[checks] += answer == entry["answer"]
    assert right[True] == 300 and 20 < right[False] < 200


def test_completions_come_in_all_styles():
    source, rng = ReasoningGymPrompts(DATA, 0, "corpus", tasks=["gcd"]), random.Random(0)
    completions = [examples.completion(rng, "gcd", source.entry(index)[2]) for index in range(400)]
    well_formed = [text for text in completions if is_well_formed(text)]
    assert 250 < len(well_formed) < 380 and 80 < sum("wait check" in text for text in completions) < 250


def test_small_steps_worked_by_hand():
    assert examples.sums(4, ["-3", "+9"]) == "4-3=1,1+9=10" and examples.sums(-2, ["-7"]) == "-2-7=-9"
    assert examples.remainders(18, 42) == "42%18=6,18%6=0" and examples.remainders(7, 7) == "7%7=0"
    entry = {"metadata": {"numbers": [42, 18], "result": 6}}
    assert examples.gcd(random.Random(1), entry, True)[0].endswith("wait check 42%18=6,18%6=0 no, so 6")


def test_pages_weigh_what_can_be_deduced():
    ids, weights = WORLD._page(["42%18:42%18=6"])
    assert [(TOKEN[index], weight) for index, weight in zip(ids, weights)] == [
        ("<bos>", 0.05),
        ("42", 0.05),
        ("%", 0.05),
        ("18", 0.05),
        (":", 0.05),
        ("42", 1.0),
        ("%", 1.0),
        ("18", 1.0),
        ("=", 1.0),
        ("6", 1.0),
        ("\n", 1.0),
        ("<eos>", 1.0),
    ]


def test_families_without_worked_examples_need_a_model():
    with pytest.raises(ValueError, match="which countdown lack: give a base with model.path=DIRECTORY"):
        make_world(DataConfig(name="reasoning_gym", tasks=["gcd", "countdown"]))
    with pytest.raises(InvalidConfig) as caught:
        compose.compose_config(
            ["recipe=reasoning_gym_cpu", "data.tasks=[gcd,countdown]", "data.task_weights=[]", "+stage=all"]
        )
    assert any("model.path is empty" in error and "countdown" in error for error in caught.value.errors)
    made = compose.compose_config(
        [
            "recipe=reasoning_gym_cpu",
            "data.tasks=[gcd,countdown]",
            "data.task_weights=[]",
            "+stage=all",
            "model.path=/x",
        ]
    )
    assert made.data.tasks == ["gcd", "countdown"]


def test_prompts_of_the_recipe_fit():
    encoder = Encoder(WORLD.build_tokenizer(), "plain")
    source = make_source(DATA, 0, "r1_zero")
    source.check_lengths(lambda prompts: encode_prompts(encoder, prompts), DATA.max_prompt_tokens)
    prompt = source.get(0)
    assert score(prompt.answer, prompt.checks) == 1 and set(DATA.tasks) <= set(families.usable())
