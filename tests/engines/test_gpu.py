"""One CUDA GPU, bf16: packed attention by the kernel, and stages on the real engines, vLLM and trainer taking turns in
the GPU's memory.
"""

from pathlib import Path

import pytest
import torch

from stages.config import ModelConfig
from stages.contract.files import read_jsonl
from stages.modeling.batching import lay_out
from stages.modeling.model import new_model
from stages.modeling.policy_model import PolicyModel
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support.stage_dirs import StageRun, attempt_log, run_stage, sampled, steps, write_stage
from tests.support.tiny_stages import BASE, GRPO, REWARD_MODELS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
BF16 = {"precision": "bf16", "zero_stage": 1}
# bf16 has 8 bits of mantissa: 4e-3 of a value for each rounding
CLOSE = {"atol": 0.03, "rtol": 0.03}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
def test_logprobs_and_gradients_are_those_of_fp32_on_the_cpu(packed, heads):
    """Rows of 1 to 300 tokens; the packed ones go through the variable-length kernel, grouped heads too."""
    tokenizer, generator = build_tokenizer(), torch.Generator().manual_seed(0)
    model = new_model(
        ModelConfig(hidden_size=256, num_layers=2, num_heads=heads[0], num_kv_heads=heads[1], intermediate_size=512),
        tokenizer,
        seed=1,
    )
    rows = [torch.randint(4, len(tokenizer), (length,), generator=generator).tolist() for length in (300, 2, 65, 129)]
    targets = [[place > 0 for place in range(len(row))] for row in rows]
    weights = torch.randn(sum(map(len, rows)) - len(rows), generator=generator)

    def score(device: str, dtype: torch.dtype, packed: bool):
        policy = PolicyModel(model.to(device, dtype), packed)
        logprobs, entropies = policy(*lay_out(rows, targets, 0, torch.device(device), packed).inputs)
        (logprobs * weights.to(device)).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()]).float().cpu()
        model.zero_grad(set_to_none=True)
        return logprobs.detach().cpu(), entropies.detach().cpu(), gradient

    expected, entropy, gradient = score("cpu", torch.float32, False)
    found, entropies, gradients = score("cuda", torch.bfloat16, packed)
    torch.testing.assert_close(found, expected, **CLOSE)
    torch.testing.assert_close(entropies, entropy, **CLOSE)
    assert torch.linalg.norm(gradients - gradient) < 0.02 * torch.linalg.norm(gradient)


@pytest.fixture(scope="module")
def gpu_policy(stage_root, sft_data) -> Path:
    """A base pretrained in fp32 and fine-tuned in bf16 until it knows its prompts by heart: one process."""
    base = run_stage(write_stage(stage_root / "gpu_base", "pretrain", BASE), num_processes=1)
    config = {
        "num_epochs": 100,
        "max_steps": 150,
        "batch_size": 16,
        "max_tokens": 64,
        "micro_batch_tokens": 800,
        "save_every": 60,
        "deepspeed": BF16,
        "optim": {"lr": 4e-3, "warmup_steps": 5, "schedule": "cosine"},
    }
    directory = run_stage(
        write_stage(stage_root / "gpu_policy", "sft", config, {"policy": base, "data": sft_data}), num_processes=1
    )
    losses = [row["train/loss"] for row in read_jsonl(directory / "metrics.jsonl")]
    assert losses[-1] < 0.2 * losses[0]
    return directory


def grpo(directory: Path, policy: Path, **changes) -> Path:
    config = {**GRPO, "deepspeed": BF16, "rollout": {"gpu_memory_fraction": 0.2, "logprob_tolerance": 0.2}, **changes}
    return write_stage(directory, "grpo", config, {"policy": policy}, stage="collected")


@pytest.mark.parametrize(
    "deepspeed",
    [
        BF16,
        {"precision": "bf16", "zero_stage": 2, "offload_optimizer": True},
        {"precision": "bf16", "zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
        {"precision": "bf16", "zero_stage": 1, "gradient_checkpointing": True},
    ],
    ids=["zero1", "zero2_offload", "zero3_offload", "recomputed"],
)
def test_grpo_trains_what_vllm_samples(gpu_policy, stage_root, deepspeed):
    """Sampler and trainer agree at every rollout: new weights arrive in an engine that has slept. The policy moves."""
    name = f"gpu_grpo_{deepspeed['zero_stage']}{'r' * ('gradient_checkpointing' in deepspeed)}"
    directory = run_stage(grpo(stage_root / name, gpu_policy, deepspeed=deepspeed), num_processes=1)
    rows = steps(directory)
    assert [row["step"] for row in rows] == list(range(1, 8)) and any(row["train/grad_norm"] > 0 for row in rows)
    assert all(row["policy/mismatch_max"] < 0.2 for row in rows[::2])
    assert max(row["policy/kl"] for row in rows) > 1e-5
    assert len(sampled(directory, 0)) == 2 * 4 * 4


def test_a_killed_stage_goes_on_from_its_checkpoint(gpu_policy, stage_root):
    directory = grpo(stage_root / "gpu_killed", gpu_policy)
    with StageRun(directory, num_processes=1) as attempt:
        attempt.wait_for_step(3)
    assert not (directory / "manifest.json").exists()
    run_stage(directory, num_processes=1)
    assert "resumed from step_" in attempt_log(directory)
    assert [row["step"] for row in steps(directory)] == list(range(1, 8))


def test_rewards_by_models_that_share_the_gpu(gpu_policy, stage_root):
    """Reward models are trained from the policy's own samples on the same GPU."""
    config = REWARD_MODELS | {"deepspeed": BF16, "rollout": {"gpu_memory_fraction": 0.2}}
    directory = run_stage(
        write_stage(
            stage_root / "reward_models_gpu", "reward_models", config, {"policy": gpu_policy}, stage="reward_models"
        ),
        num_processes=1,
    )
    assert (directory / "manifest.json").exists()
