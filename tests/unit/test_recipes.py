"""Recipes: every choice composes, the resolved configurations are known, and `paper` holds the published numbers."""

import itertools
import os

import pytest
import yaml

from pipeline.configuration import compose, keys, spelling
from pipeline.configuration.graph import STAGES
from pipeline.errors import InvalidConfig
from stages.config import to_dict
from tests.support.paths import FIXTURES

pytestmark = pytest.mark.slow  # composes every recipe with every option

GOLDEN = FIXTURES / "golden"
TRAINED = (
    "base",
    "student_base",
    "r1_zero",
    "cold_start",
    "reasoning_rl",
    "rejection_sft",
    "reward_models",
    "preference_rl",
    "distill",
)
RECIPES = keys.groups()["recipe"]
EMBEDDED = ("tiny", "reasoning_gym_cpu")  # with a base and prompts of their own
WITH_PROMPTS = (*EMBEDDED, "smollm2", "smollm2_gpu")


def overrides(recipe: str) -> list[str]:
    """The shared part: the larger recipes need a data file to be named."""
    return spelling.rewrite([f"recipe={recipe}"] + ([] if recipe in WITH_PROMPTS else ["data.path=prompts.jsonl"]))


@pytest.mark.parametrize("recipe, option", itertools.product(RECIPES, keys.groups()["deepspeed"]))
def test_every_stage_of_every_recipe_takes_every_deepspeed_option(recipe, option):
    chosen = [
        f"+deepspeed@stages.{stage}.deepspeed={option}" for stage in TRAINED if stage not in ("base", "student_base")
    ]
    made = compose.compose_config([*overrides(recipe), "+stage=all", *chosen])
    left_out = [] if made.student.rl else ["student_rl"]
    assert made.selection == [name for name in STAGES if name not in left_out] and made.recipe == recipe
    for stage in TRAINED[2:]:
        deepspeed = getattr(made.stages, stage).deepspeed
        assert deepspeed.zero_stage == int(option[4]) and deepspeed.offload_optimizer == option.endswith("offload")


@pytest.mark.parametrize("recipe", RECIPES)
def test_pretraining_takes_zero0_with_muon_and_every_option_with_adamw(recipe):
    shared = [*overrides(recipe), "+deepspeed@stages.base.deepspeed=zero3"]
    if recipe in EMBEDDED:
        with pytest.raises(InvalidConfig, match="muon needs whole matrices"):
            compose.compose_config(shared)
    made = compose.compose_config([*shared, "stages.base.optim.name=adamw"])
    assert made.stages.base.deepspeed.zero_stage == 3


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_can_be_selected_alone(stage):
    asked_for = ["student.rl=true"] if stage == "student_rl" else []
    assert compose.compose_config([f"+stage={stage}", *asked_for]).selection == [stage]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_resolved_configuration_is_the_golden_one(recipe, tmp_path, monkeypatch):
    """After a wanted change: UPDATE_GOLDEN=1 python -m pytest tests/unit/test_recipes.py, and read the difference."""
    monkeypatch.chdir(tmp_path)  # where no model is
    made = compose.compose_config([*overrides(recipe), "+stage=all"])
    text = yaml.safe_dump(to_dict(made), sort_keys=False, allow_unicode=True)
    path = GOLDEN / f"{recipe}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


# What the paper publishes: key of the recipe, number, source (docs of the recipe cite the same).
PUBLISHED = [
    ("r1_zero.optim.lr", 3e-6, "[N] learning rate"),
    ("r1_zero.beta", 0.001, "[N] KL coefficient"),
    ("r1_zero.rollout.temperature", 1.0, "[N] rollout temperature"),
    ("r1_zero.group_size", 16, "[N] outputs per question"),
    ("r1_zero.prompts_per_step", 32, "[N] unique questions a step"),
    ("r1_zero.max_completion_tokens", [[0, 32768], [8200, 65536]], "[N] max length before and after step 8.2k"),
    ("r1_zero.num_steps", 10400, "[N] total steps"),
    ("r1_zero.reference_every", 400, "[N] reference refresh"),
    ("r1_zero.updates_per_rollout", 16, "[N] 8,192 outputs in 16 mini-batches, one inner epoch"),
    ("r1_zero.rewards.accuracy", 1.0, "[N eq. 4] same weight"),
    ("r1_zero.rewards.format", 1.0, "[N eq. 4] same weight"),
    ("r1_zero.rewards.language", 0.0, "[N eq. 4] no language reward"),
    ("r1_zero.rewards.preference", 0.0, "[N eq. 4] no neural reward model"),
    ("r1_zero.data.template", "r1_zero", "[V1 Table 1] plain-text template"),
    ("cold_start_data.rollout.temperature", 1.0, "[V2 B.3.2] trajectories at temperature 1.0"),
    ("cold_start_data.min_language", 1.0, "[V2 B.3.2] language-mixing filter"),
    ("cold_start.num_epochs", 2.0, "[V2 B.4.2] 2-3 epochs"),
    ("cold_start.batch_size", 128, "[V2 B.4.2] batch"),
    ("cold_start.max_tokens", 32768, "[V2 B.4.2] context"),
    ("cold_start.optim.lr", 5e-5, "[V2 B.4.2] cosine from 5e-5"),
    ("cold_start.optim.min_lr_ratio", 0.1, "[V2 B.4.2] to 5e-6"),
    ("cold_start.optim.schedule", "cosine", "[V2 B.4.2]"),
    ("reasoning_rl.clip_high", 10.0, "[N] clip ratio of the first RL stage of R1"),
    ("reasoning_rl.clip_low", 10.0, "[N] clip ratio of the first RL stage of R1"),
    ("reasoning_rl.max_completion_tokens", [[0, 32768]], "[N] max length"),
    ("reasoning_rl.rewards.language", 1.0, "[N eq. 7] directly added"),
    ("reasoning_rl.optim.lr", 3e-6, "[N]"),
    ("reasoning_rl.beta", 0.001, "[N]"),
    ("reasoning_rl.group_size", 16, "[N]"),
    ("reasoning_rl.prompts_per_step", 32, "[N]"),
    ("reasoning_rl.reference_every", 400, "[N]"),
    ("reasoning_rl.updates_per_rollout", 16, "[N]"),
    ("reasoning_rl.rollout.temperature", 1.0, "[N]"),
    ("rejection_data.keep_total", 600000, "[V2 B.3.3] about 600k reasoning samples"),
    ("rejection_data.num_general", 200000, "[V2 B.3.3] about 200k others"),
    ("rejection_sft.num_epochs", 2.0, "[V1] two epochs over 800k samples"),
    ("rejection_sft.batch_size", 128, "[V2 B.4.2]"),
    ("rejection_sft.max_tokens", 32768, "[V2 B.4.2]"),
    ("rejection_sft.optim.lr", 5e-5, "[V2 B.4.2]"),
    ("rejection_sft.optim.min_lr_ratio", 0.1, "[V2 B.4.2]"),
    ("reward_models.judgments", 4, "[N] each pair judged four times"),
    ("reward_models.min_gap", 1.0, "[N] keep only a gap above 1"),
    ("reward_models.num_prompts", 66000, "[N] 66,000 pairs"),
    ("reward_models.num_safety_prompts", 106000, "[N] 106,000 prompts"),
    ("reward_models.batch_size", 256, "[N]"),
    ("reward_models.optim.lr", 6e-6, "[N]"),
    ("reward_models.num_steps", 0, "[N] one epoch"),
    ("reward_models.max_completion_tokens", 8192, "[N] in training"),
    ("preference_rl.num_steps", 1700, "[N] total steps"),
    ("preference_rl.preference_last_steps", 400, "[N] preference rewards only in the final 400 steps"),
    ("preference_rl.rollout.temperature", 0.7, "[N]"),
    ("preference_rl.clip_high", 10.0, "[N] keeps stage-2 parameters"),
    ("preference_rl.optim.lr", 3e-6, "[N] keeps stage-2 parameters"),
    ("preference_rl.beta", 0.001, "[N] keeps stage-2 parameters"),
    ("preference_rl.group_size", 16, "[N] keeps stage-2 parameters"),
    ("preference_rl.prompts_per_step", 32, "[N] keeps stage-2 parameters"),
    ("preference_rl.updates_per_rollout", 16, "[N] keeps stage-2 parameters"),
    ("preference_rl.reference_every", 400, "[N] keeps stage-2 parameters"),
    ("preference_rl.max_completion_tokens", [[0, 32768]], "[N] keeps stage-2 parameters"),
    ("preference_rl.rewards.language", 1.0, "[N eq. 8]"),
    ("preference_rl.rewards.preference", 1.0, "[N eq. 10]"),
    ("preference_rl.rewards.general_format", 1.0, "[N eq. 10]"),
    ("distill.optim.lr", 8e-5, "[V2 Table 6] Distill-Qwen-7B"),
    ("distill.optim.min_lr_ratio", 0.1, "[V2 B.4.3] cosine to a tenth"),
    ("distill.optim.schedule", "cosine", "[V2 B.4.3]"),
    ("distill.batch_size", 64, "[V2 B.4.3]"),
    ("distill.max_tokens", 32768, "[V2 B.4.3]"),
    ("distill.num_epochs", 2.0, "[V2 B.4.3] 2-3 epochs"),
    ("evaluate.rollout.temperature", 0.6, "[V2 D.1]"),
    ("evaluate.rollout.top_p", 0.95, "[V2 D.1]"),
    ("evaluate.max_completion_tokens", 32768, "[V2 D.1]"),
    ("evaluate.samples_per_prompt", 64, "[V2 D.1] k for AIME and GPQA"),
]


@pytest.fixture(scope="module")
def paper() -> dict:
    """The composed recipe, before the driver switches general data off for a file of reasoning prompts."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(compose.compose_tree(overrides("paper")), resolve=True)


@pytest.mark.parametrize("key, published, source", PUBLISHED, ids=[key for key, _, _ in PUBLISHED])
def test_the_paper_recipe_has_the_published_number(paper, key, published, source):
    value = paper["stages"]
    for name in key.split("."):
        value = value[name]
    assert value == published, source


def test_the_paper_recipe_has_the_published_models(paper):
    assert paper["model"]["path"] == "deepseek-ai/DeepSeek-V3-Base"  # [N]
    assert paper["student"]["path"] == "Qwen/Qwen2.5-Math-7B"  # [V2 Table 6]
    assert paper["launcher"]["num_nodes"] * paper["launcher"]["num_processes"] == 512  # 64 * 8 H800 [V2 Table 7]
    steps = paper["stages"]["r1_zero"]
    assert steps["prompts_per_step"] * steps["group_size"] == 512 and 512 * steps["updates_per_rollout"] == 8192  # [N]
