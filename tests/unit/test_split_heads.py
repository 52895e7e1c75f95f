"""Which models the ranks of a sequence group can hold together, in the plan and in the worker; how a row is cut."""

import pytest
import torch

from pipeline.configuration import compose
from pipeline.errors import InvalidConfig
from stages.config import ConfigError, DeepSpeedConfig, GrpoConfig, SftConfig
from stages.contract.split_heads import why_not_split
from stages.modeling.batching import lay_out
from stages.modeling.ready import ready_policy
from stages.modeling.sequences import SequenceGroup
from stages.runtime.errors import InputError
from tests.support.families import tiny

QWEN_7B = {"num_attention_heads": 28, "num_key_value_heads": 4}


@pytest.mark.parametrize(
    ("config", "size", "why"),
    [
        (QWEN_7B, 2, None),
        (QWEN_7B, 28, None),  # key-value heads are repeated
        (QWEN_7B, 8, "28 attention heads, which 8 does not divide; 2, 4, 28 would do"),
        (QWEN_7B, 7, "4 key-value heads for 7 ranks, and neither number divides the other"),
        ({"n_head": 12}, 3, None),
        ({"state_size": 16}, 2, "no attention heads"),
        ({**QWEN_7B, "sliding_window": 4096, "use_sliding_window": False}, 2, None),
        ({**QWEN_7B, "sliding_window": 4096}, 2, "sliding window"),
        ({**QWEN_7B, "layer_types": ["full_attention", "linear_attention"]}, 2, "layers without full attention"),
        ({**QWEN_7B, "kv_lora_rank": 512}, 2, "latent attention"),
        ({**QWEN_7B, "attn_logit_softcapping": 50.0}, 2, "caps its attention scores"),
    ],
)
def test_which_heads_can_be_divided(config, size, why):
    found = why_not_split(config, size)
    assert found is None if why is None else why in found


def test_groups_divide_the_ranks():
    with pytest.raises(InvalidConfig, match=r"sequence_parallel 3 does not divide the 2 ranks"):
        compose.compose_config(["+stage=all", "deepspeed.sequence_parallel=3"])
    with pytest.raises(InvalidConfig, match=r"stages.r1_zero.deepspeed.hpz_partition_size 4 does not divide"):
        compose.compose_config(
            ["+stage=all", "stages.r1_zero.deepspeed.zero_stage=3", "stages.r1_zero.deepspeed.hpz_partition_size=4"]
        )


def test_rules_between_keys():
    deepspeed = {"sequence_parallel": 2}
    for kind, more in ((SftConfig, {}), (GrpoConfig, {"num_steps": 16})):
        with pytest.raises(ConfigError, match="packing=off pads rows"):
            kind(packing="off", deepspeed=DeepSpeedConfig(**deepspeed), **more)
    with pytest.raises(ConfigError, match="hpz_partition_size 8 needs zero_stage 3"):
        DeepSpeedConfig(zero_stage=2, hpz_partition_size=8)


class FewTokens:
    """What of a tokenizer says which token pads, and how many tokens there are."""

    pad_token_id, bos_token_id, eos_token_id, name_or_path = 0, 1, 2, ""

    def __len__(self) -> int:
        return 96


@pytest.mark.parametrize(
    ("family", "size", "why"),
    [
        ("qwen2", 3, "4 attention heads, which 3 does not divide; 2, 4 would do"),
        ("mistral_window", 2, "sliding window"),
        ("mamba", 2, "no attention heads"),
        ("nemotron", 2, "do not tell their attention where sequences begin"),
        ("deepseek_v3", 2, "latent attention"),
    ],
)
def test_a_worker_refuses_what_cannot_be_divided(family, size, why):
    with pytest.raises(InputError, match=r"deepspeed.sequence_parallel") as refused:
        ready_policy(tiny(family), FewTokens(), "auto", "fp32", print, sequence_parallel=size)
    assert why in str(refused.value) and "deepspeed.sequence_parallel=1" in str(refused.value)


def test_a_row_is_cut_into_slices_that_pads_make_even():
    rows = [[5, 6, 7, 8, 9], [10, 11]]
    batch = lay_out(rows, [[False, True, True, True, True], [False, True]], 0, torch.device("cpu"), packed=True)
    seen, places = [], []
    for place in range(3):
        group = SequenceGroup.__new__(SequenceGroup)
        group.size, group.place = 3, place
        own = group.cut(batch.input_ids, batch.position_ids, batch.boundaries, batch.longest, batch.places_N)
        assert own.input_ids.shape == own.position_ids.shape == (1, 3)
        assert own.boundaries.tolist() == [0, 5, 7, 9] and own.longest == 5
        seen += own.input_ids[0].tolist()
        places += (own.places_n + 3 * place).tolist()
    assert seen == [5, 6, 7, 8, 9, 10, 11, 0, 0]
    assert places == batch.places_N.tolist()
