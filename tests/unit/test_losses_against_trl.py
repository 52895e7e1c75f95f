"""The loss family, the advantages and the overlong penalty against an independent implementation: TRL's GRPOTrainer.

A real trainer gets given rollouts (`rollout_func`), rewards (a reward function) and logprobs (in place of its forward
passes); everything from there to the loss is TRL's: advantages, masks, importance sampling correction, clipping, KL,
normalisation, accumulation.

DIFFERENCES, on purpose:
  bnpo under accumulation: TRL normalises each micro-batch by its own tokens, we by those of the step, which is dapo;
  cispo: TRL's epsilon_high is the cap of the weight, our cap is 1 + clip_high;
  equal rewards up to rounding: ours have an advantage of exactly 0, TRL divides the rounding by 1e-4;
  truncated completions that are masked are not passed to our loss; TRL multiplies them by 0.
"""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer
from trl.rewards import get_soft_overlong_punishment
from trl.trainer.utils import split_tensor_dict

from stages.modeling.losses import ADVANTAGES, CORRECTIONS, LOSSES, Counts, advantages, correction_weights, loss_terms
from stages.rewards.rules.overlong import overlong_penalty

P, G, T, MAX_TOKENS = 3, 4, 7, 9  # prompts, completions each, the longest completion, the longest allowed
PAD, EOS, WORD = 0, 1, 2
TRL = {
    "grpo": {"loss_type": "grpo"},
    "bnpo": {"loss_type": "bnpo"},
    "dapo": {"loss_type": "dapo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "cispo": {"loss_type": "cispo"},
}
DEFAULTS = {
    "importance_sampling_level": "token",
    "beta": 0.0,
    "use_bias_correction_kl": False,
    "epsilon_low": 0.2,
    "scale_rewards": "group",
    "mask_truncated_completions": False,
    "use_vllm": False,
    "vllm_importance_sampling_correction": True,
    "num_iterations": 2,
    "delta": None,
}  # more than one update a rollout: the old policy is not the policy


def draw(seed: int, spread: float = 0.4) -> SimpleNamespace:
    """Random rollouts; logprobs are [B, T], with noise where a completion has ended. `spread`: standard deviation of
    log(pi / pi_old), half of whose variance a completion's tokens share.
    """
    random = torch.Generator().manual_seed(seed)
    lengths_B = torch.randint(1, T + 1, (P * G,), generator=random)
    lengths_B[seed % (P * G)] = T
    policy, old, reference, sampler = torch.randn(4, P * G, T, generator=random)
    policy, old = -1.0 - policy.abs(), spread * (old + torch.randn(P * G, 1, generator=random)) / 2**0.5
    return SimpleNamespace(
        lengths_B=lengths_B,
        mask_BT=torch.arange(T) < lengths_B[:, None],
        is_truncated_B=torch.arange(P * G) % 4 == seed % 4,
        rewards_PG=3 * torch.randn(P, G, generator=random),
        policy_BT=policy,
        old_BT=policy + old,
        reference_BT=policy + 0.5 * reference,
        sampler_BT=policy + old + 0.5 * sampler,
    )


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("trl"))
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=3,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            bos_token_id=None,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
    ).save_pretrained(path)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<pad>": PAD, "<eos>": EOS, "a": WORD}, unk_token="a")),
        pad_token="<pad>",
        eos_token="<eos>",
    )
    config = GRPOConfig(
        path,
        per_device_train_batch_size=P * G,
        num_generations=G,
        gradient_accumulation_steps=1,
        max_completion_length=MAX_TOKENS,
        beta=0.1,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        gradient_checkpointing=False,
    )

    def rollout(prompts, trainer) -> dict:
        given = trainer.given
        completions = [
            [WORD] * (n - 1) + [WORD if cut else EOS]
            for n, cut in zip(given.lengths_B.tolist(), given.is_truncated_B.tolist())
        ]
        return {
            "prompt_ids": [[WORD] * (1 + i % 3) for i in range(P * G)],
            "completion_ids": completions,
            "logprobs": [row[:n].tolist() for row, n in zip(given.sampler_BT, given.lengths_B)],
        }

    def reward(completions, **columns) -> list[float]:
        return trainer.given.rewards_PG.flatten().tolist()

    def logprobs(model, *inputs, **options):
        scored = trainer.given.reference_BT if model is trainer.ref_model else trainer.given.old_BT
        values = trainer.policy_leaf if torch.is_grad_enabled() else scored
        return values, torch.zeros_like(values), None

    trainer = GRPOTrainer(
        path, reward, config, Dataset.from_dict({"prompt": ["a"] * 4}), processing_class=tokenizer, rollout_func=rollout
    )
    trainer._get_per_token_logps_and_entropies = logprobs
    trainer._last_loaded_step = 0  # there is no vLLM to load anything into
    trainer.model.train()
    return trainer


def theirs(
    trainer, rollouts: SimpleNamespace, name: str, clip_high: float = 0.2, num_micro_batches: int = 1, **settings
) -> tuple[Tensor, Tensor]:
    """TRL's loss of one optimizer step and its gradient with respect to the policy's logprobs [B, T]."""
    trainer.current_gradient_accumulation_steps = num_micro_batches  # what Trainer.train would have set
    num = {"gradient_accumulation_steps": num_micro_batches, "steps_per_generation": num_micro_batches}
    for key, value in {
        **DEFAULTS,
        **TRL[name],
        **num,
        "epsilon_high": clip_high + (name == "cispo"),
        **settings,
    }.items():
        owner = trainer if hasattr(trainer, key) else trainer.args
        assert hasattr(owner, key), key
        setattr(owner, key, value)
    trainer.given = rollouts
    trainer.scored = trainer._generate_and_score_completions([{"prompt": "a"}] * (P * G))
    loss, gradients = torch.zeros(()), []
    for part, policy_BT in zip(
        split_tensor_dict(trainer.scored, num_micro_batches), rollouts.policy_BT.chunk(num_micro_batches)
    ):
        trainer.policy_leaf = policy_BT.clone().requires_grad_()
        part_loss = trainer._compute_loss(trainer.model, part)
        part_loss.backward()
        loss, gradients = loss + part_loss.detach(), gradients + [trainer.policy_leaf.grad]
    return loss, torch.cat(gradients)


def ours(
    rollouts: SimpleNamespace,
    name: str,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    scale: str = "group",
    beta: float = 0.0,
    kl: str = "k3",
    correction: str = "",
    limit: float = 2.0,
    dual_clip: float = 0.0,
    masks_truncated: bool = False,
    sizes: tuple = (P * G,),
):
    """Loss, gradient [B, T], and the share of clipped tokens and the mean KL that we would log; `sizes` of
    micro-batches.
    """
    kept_B = ~rollouts.is_truncated_B if masks_truncated else torch.ones(P * G, dtype=torch.bool)
    counts = Counts(P * G, int(rollouts.lengths_B[kept_B].sum()), MAX_TOKENS)
    leaf, advantages_B = rollouts.policy_BT.clone().requires_grad_(), advantages(rollouts.rewards_PG, scale).flatten()
    sums = torch.zeros(3)
    for rows in torch.arange(P * G).split(list(sizes)):
        rows = rows[kept_B[rows]]
        mask, lengths = rollouts.mask_BT[rows], rollouts.lengths_B[rows]
        policy, old, reference, sampler = (
            x[rows][mask] for x in (leaf, rollouts.old_BT, rollouts.reference_BT, rollouts.sampler_BT)
        )
        sequence = torch.arange(len(rows)).repeat_interleave(lengths)
        weights = correction_weights(correction, old, sampler, sequence, len(rows), limit) if correction else None
        terms = loss_terms(
            name,
            policy,
            old,
            reference if beta else None,
            advantages_B[rows],
            sequence,
            lengths.float(),
            counts,
            clip_low,
            clip_high,
            beta,
            kl,
            weights,
            dual_clip,
        )
        terms.loss.backward()
        sums += torch.stack(
            [terms.loss.detach(), terms.is_clipped_N.sum() / counts.num_tokens, terms.kl_N.sum() / counts.num_tokens]
        )
    return sums[0], leaf.grad, sums[1].item(), sums[2].item()


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def assert_same(us, them):
    """Loss and gradient; ours is 0 where a completion has ended. (Terms of about 0.1 may cancel in the loss: hence the
    1e-7.)
    """
    assert them[1].norm() > 1e-3 and them[1].isfinite().all()
    assert us[0].item() == pytest.approx(them[0].item(), rel=1e-5, abs=1e-7)
    assert difference(us[1], them[1]) < 1e-5


def logged(trainer, key: str) -> float:
    return trainer._metrics["train"][key][-1]


def test_all_are_compared():
    assert (TRL.keys(), ADVANTAGES.keys()) == (LOSSES.keys(), {"group", "batch", "none"})


@pytest.mark.parametrize("seed", range(3))
def test_every_loss_is_its_own_and_no_other(trainer, seed):
    rollouts = draw(seed)
    us, them = (
        {name: ours(rollouts, name) for name in LOSSES},
        {name: theirs(trainer, rollouts, name) for name in LOSSES},
    )
    for name in LOSSES:
        assert_same(us[name], them[name])
        alike = {other for other in LOSSES if difference(us[name][1], them[other][1]) < 0.01}
        assert alike == ({"bnpo", "dapo"} if name in ("bnpo", "dapo") else {name})


@pytest.mark.parametrize(
    "clip_low, clip_high, spread", [(0.2, 0.28, 0.4), (0.2, 5.0, 2.0), (10.0, 10.0, 2.5)]
)  # DAPO's, ScaleRL's, [N]'s
@pytest.mark.parametrize("name", LOSSES)
def test_clipping(trainer, name, clip_low, clip_high, spread):
    """Some tokens are clipped, not all; the share that we log is the one that TRL logs (of completions instead, at
    their level).
    """
    shares = []
    for seed in range(4):
        rollouts = draw(seed, spread)
        us, them = (
            ours(rollouts, name, clip_low, clip_high),
            theirs(trainer, rollouts, name, clip_high, epsilon_low=clip_low),
        )
        assert_same(us, them)
        shares.append(us[2])
        if name != "gspo":
            assert us[2] == pytest.approx(
                logged(trainer, "cispo_clip_ratio" if name == "cispo" else "clip_ratio/region_mean"), rel=1e-5
            )
    assert 0.02 < sum(shares) / 4 < 0.5


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "cispo"])
def test_dual_clip(trainer, name):
    """TRL's `delta` bounds the ratio of good tokens too, which changes nothing where it is over 1 + clip_high."""
    for seed in range(4):
        rollouts = draw(seed, spread=2.0)
        us = ours(rollouts, name, dual_clip=1.5)
        assert_same(us, theirs(trainer, rollouts, name, delta=1.5))
        assert difference(us[1], ours(rollouts, name)[1]) > 0.01


@pytest.mark.parametrize("kl", ["k3", "k3_unbiased"])
@pytest.mark.parametrize("name", LOSSES)
def test_kl(trainer, name, kl):
    for seed in range(3):
        rollouts = draw(seed)
        them = theirs(trainer, rollouts, name, beta=0.3, use_bias_correction_kl=kl == "k3_unbiased")
        us = ours(rollouts, name, beta=0.3, kl=kl)
        assert_same(us, them)
        for other in ({}, {"beta": 0.3, "kl": "k3" if kl == "k3_unbiased" else "k3_unbiased"}):
            assert difference(us[1], ours(rollouts, name, **other)[1]) > 0.01
        if kl == "k3":
            assert us[3] == pytest.approx(logged(trainer, "kl"), rel=1e-5)


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_corrections(trainer, name, correction):
    settings = {"use_vllm": True, "vllm_importance_sampling_mode": correction, "vllm_importance_sampling_clip_max": 1.5}
    for seed in range(3):
        rollouts = draw(seed)
        them = theirs(trainer, rollouts, name, beta=0.1, **settings)
        us = ours(rollouts, name, beta=0.1, correction=correction, limit=1.5)
        assert_same(us, them)
        for other in {"", *CORRECTIONS} - {correction}:
            assert difference(us[1], ours(rollouts, name, beta=0.1, correction=other, limit=1.5)[1]) > 0.01


@pytest.mark.parametrize("name", LOSSES)
def test_masked_truncated_completions(trainer, name):
    for seed in range(3):
        rollouts = draw(seed)
        us, them = (
            ours(rollouts, name, beta=0.1, masks_truncated=True),
            theirs(trainer, rollouts, name, beta=0.1, mask_truncated_completions=True),
        )
        assert_same(us, them)
        assert (them[1][rollouts.is_truncated_B] == 0).all() and difference(
            us[1], ours(rollouts, name, beta=0.1)[1]
        ) > 0.01


@pytest.mark.parametrize("name", LOSSES)
def test_accumulation(trainer, name):
    """Our micro-batches may have any sizes. TRL's bnpo is the one loss that depends on them."""
    rollouts = draw(0)
    them = theirs(trainer, rollouts, "dapo" if name == "bnpo" else name, num_micro_batches=3, beta=0.1)
    for sizes in ((12,), (4, 4, 4), (1, 6, 5)):
        assert_same(ours(rollouts, name, beta=0.1, sizes=sizes), them)
    if name == "bnpo":
        assert difference(theirs(trainer, rollouts, "bnpo", num_micro_batches=3, beta=0.1)[1], them[1]) > 0.01


@pytest.mark.parametrize("scale", ADVANTAGES)
def test_advantages(trainer, scale):
    for seed in range(5):
        rollouts = draw(seed)
        rollouts.rewards_PG[1] = torch.tensor([[0.25] * 4, [0.0, 0.0, 0.0, 1.0]][seed % 2])
        assert_same(ours(rollouts, "dapo", scale=scale), theirs(trainer, rollouts, "dapo", scale_rewards=scale))
        for other in ADVANTAGES:
            distance = difference(advantages(rollouts.rewards_PG, other).flatten(), trainer.scored["advantages"])
            assert distance < 1e-5 if other == scale else distance > 0.01


def test_rounding_is_no_signal(trainer):
    """Four rewards of 0.3, one of them a rounding error off."""
    rollouts = draw(0)
    rollouts.rewards_PG[1] = torch.tensor([0.3, 0.3, 0.3, 0.30000004])
    theirs(trainer, rollouts, "dapo")
    assert (
        advantages(rollouts.rewards_PG)[1].tolist() == [0.0] * 4
        and 0 < trainer.scored["advantages"][4:8].abs().max() < 1e-3
    )


@pytest.mark.parametrize("max_tokens, buffer", [(100, 20), (50, 50), (7, 1)])
def test_overlong_penalty(max_tokens, buffer):
    lengths = range(max_tokens + 10)
    expected = get_soft_overlong_punishment(max_tokens, buffer)([[WORD] * n for n in lengths])
    assert (min(expected), max(expected)) == (-1.0, 0.0)
    assert [overlong_penalty(n, max_tokens, buffer) for n in lengths] == expected
