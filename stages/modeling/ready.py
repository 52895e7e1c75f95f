"""From a loaded model to one that can be trained: dropout, the way rows are laid out, and a check that it is right."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from stages.contract.model_directory import num_tokens
from stages.contract.split_heads import why_not_split
from stages.modeling.attention import cannot_pack, has_packed_kernel, packing_refused, use_packed_attention
from stages.modeling.batching import pad_id
from stages.modeling.checks import SelfCheck, reward_difference, why_rewards_not_packed
from stages.modeling.divided import forward_possible, shape_of
from stages.modeling.dropout import turn_off_dropout, turn_off_dropout_of_config
from stages.modeling.policy_model import PolicyModel
from stages.modeling.reward_model import ScalarModel
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def ready_policy(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    packing: str,
    precision: str,
    say: Callable[[str], None],
    dropout: bool = False,
    sequence_parallel: int = 1,
) -> PolicyModel:
    """Makes a loaded model ready for training, and compares it with its own forward pass on short rows.

    Args:
        model: The model; it goes to this rank's device.
        tokenizer: Says which token pads; each of its tokens has to have a row in the embedding.
        packing: auto, on or off. auto tries packed rows where this machine is faster with them.
        precision: fp32 or bf16.
        say: Takes a line for people: why rows are padded where they could have been packed.
        dropout: Whether the dropout of the model's configuration acts in training.
        sequence_parallel: Ranks that are going to hold its rows together, which are packed then.

    Raises:
        InputError: What training computes is not what the model computes by itself; or packing is on, and the model
            cannot.
    """
    require_rows(model, tokenizer)
    if not dropout:
        turn_off_dropout(model)
    policy = PolicyModel(model.to(own_device()))
    if sequence_parallel > 1:
        packing = "on"
        require_splitting(model, sequence_parallel)
    may_pack = packing == "on" or (packing == "auto" and has_packed_kernel(precision))
    with forward_possible(policy):
        check = SelfCheck(policy, pad_id(tokenizer))
        why = (cannot_pack(model) or _in_mode(policy, check.why_not_packed, not dropout)) if may_pack else None
        if why and packing == "on":
            raise splitting_refused(model, why) if sequence_parallel > 1 else packing_refused(model, why)
        if not may_pack or why is not None:
            _require_padded_rows(check, policy, dropout)
    if may_pack and why is None:
        policy.packed = True
        use_packed_attention(model)
        return policy
    if why:
        say(f"packing=auto: rows of {type(model).__name__} are padded, not packed: {why}")
    return policy


def ready_classifier(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", dropout: bool = False, sequence_parallel: int = 1
) -> ScalarModel:
    """Makes a loaded sequence classifier ready for training, as `ready_policy` does a causal LM.

    Raises:
        InputError: Its reward of a row is not the same in padded rows as by itself; or, where ranks are to hold its
            rows together, in packed ones.
    """
    require_rows(model, tokenizer)
    if not dropout:
        turn_off_dropout(model)
    scalar = ScalarModel(model.to(own_device()))
    scalar.train(not dropout)
    with forward_possible(scalar):
        difference, tolerance = reward_difference(scalar, pad_id(tokenizer))
    scalar.train()
    if not difference <= tolerance:
        raise InputError(
            f"{type(model).__name__} cannot be trained as a reward model: its reward of a row differs by "
            f"{difference:.1e} in padded rows: take another model"
        )
    if sequence_parallel > 1:
        require_splitting(model, sequence_parallel)
        with forward_possible(scalar):
            why = cannot_pack(model) or why_rewards_not_packed(scalar)
        if why:
            raise splitting_refused(model, why)
        scalar.packed = True
        use_packed_attention(model)
    return scalar


def ready_scorer(model: "PreTrainedModel", packed: bool) -> ScalarModel:
    """Makes a loaded reward model ready to score completions, which is all that it does.

    Args:
        model: On its device, in its precision.
        packed: Whether the policy's rows are packed. On the CPU rows of the reward model are packed too then, where a
            trial shows that its rewards stay as they are; elsewhere they are padded.
    """
    scalar = ScalarModel(model).eval()
    is_on_cpu = next(model.parameters()).device.type == "cpu"
    if packed and is_on_cpu and not cannot_pack(model) and not why_rewards_not_packed(scalar, shares_prompts=True):
        scalar.packed = True
        use_packed_attention(model)
    return scalar


def require_splitting(model: "PreTrainedModel", size: int) -> None:
    """Raises InputError where `size` ranks cannot hold the model's rows together, as its configuration says."""
    if why := why_not_split(model.config.get_text_config().to_dict(), size):
        raise splitting_refused(model, f"it {why}")


def splitting_refused(model: "PreTrainedModel", why: str) -> InputError:
    """The error where ranks cannot hold the model's rows together."""
    return InputError(
        f"deepspeed.sequence_parallel: ranks cannot share the rows of {type(model).__name__}: {why}; use another "
        "number, or deepspeed.sequence_parallel=1"
    )


def require_rows(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raises InputError where the tokenizer has tokens without a row in the embedding.

    What its files list counts, not what its class adds as it is loaded (Qwen2Tokenizer adds `<|endoftext|>` to any
    vocabulary): of that only tokens with a role are ever used.
    """
    rows = shape_of(model.get_input_embeddings().weight)[0]
    directory = str(getattr(tokenizer, "name_or_path", "") or "")
    listed = num_tokens(Path(directory)) if directory and Path(directory).is_dir() else None
    roles = [tokenizer.eos_token_id, tokenizer.bos_token_id, pad_id(tokenizer)]
    count = max([listed or len(tokenizer), *(token + 1 for token in roles if token is not None)])
    if count > rows:
        raise InputError(
            f"the tokenizer has {count} tokens, but the embedding of {type(model).__name__} has {rows} rows: enlarge "
            "the model with resize_token_embeddings(len(tokenizer)), or remove the tokens that were added"
        )


def own_device() -> torch.device:
    """The device of this rank."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _require_padded_rows(check: SelfCheck, policy: PolicyModel, dropout: bool) -> None:
    """Raises InputError unless padded rows give what the model gives by itself; in training mode without dropout."""
    why = _in_mode(policy, check.why_not_padded, not dropout)
    if why and not dropout:
        in_evaluation = _in_mode(policy, check.why_not_padded, False)
        if in_evaluation is None:
            turn_off_dropout_of_config(policy.model.config)
            why = _in_mode(policy, check.why_not_padded, True)
            why = f"in training mode, without dropout too, {why}" if why else None
    if why:
        raise InputError(
            f"{type(policy.model).__name__} cannot be trained: {why}. Models that attend to later tokens, or compute "
            "their logits in a way that is theirs alone, are not supported: take another model"
        )


def _in_mode(policy: PolicyModel, trial: Callable[[], str | None], is_training: bool) -> str | None:
    """What a trial says while the policy is in training or in evaluation mode."""
    was_training = policy.training
    policy.train(is_training)
    try:
        return trial()
    finally:
        policy.train(was_training)
