"""Checks what a stage is given before any engine starts: prompts that fit, a long enough context, a working sandbox."""

from pathlib import Path
from typing import Any

from stages.config import DataConfig
from stages.data.file_prompts import FilePrompts
from stages.data.general_prompts import WithGeneralPrompts
from stages.data.prompt_sources import make_source
from stages.prompting.encoding import Encoder, encode_prompts
from stages.prompting.prompt import PromptSource
from stages.runtime.errors import InputError, user_errors
from stages.runtime.worker import Worker
from stages.worlds.tiny_world.sources import TinyWorldPrompts

CHECKED_PROMPTS = 64  # of those that are generated


def open_prompts(
    worker: Worker, data: DataConfig, encoder: Encoder, model_dir: Path, max_completion_tokens: int
) -> PromptSource:
    """Opens the stage's training prompts and checks them.

    Args:
        worker: the stage.
        data: where its prompts come from.
        encoder: what encodes the prompts of the stage.
        model_dir: directory of the model.
        max_completion_tokens: longest completion that the stage samples, tokens.

    Raises:
        InputError: rows cannot be used, a prompt is too long or cannot be encoded, or the model's context is too short.
    """
    check_context(worker, model_dir, data.max_prompt_tokens + max_completion_tokens)
    with user_errors():
        encoder.prompt("a")  # a model without the template that is asked for, or one that refuses users
        source = make_source(data, worker.seed, worker.stage, "train")
        if isinstance(source, (FilePrompts, WithGeneralPrompts)) and source.summary:
            worker.say(source.summary)
        if not isinstance(source, TinyWorldPrompts):
            source.check_lengths(lambda prompts: encode_prompts(encoder, prompts), data.max_prompt_tokens)
        elif encoder.template != "plain":  # whose prompts are known to fit
            _check_generated(source, encoder, data.max_prompt_tokens)
    return source


def _check_generated(source: PromptSource, encoder: Encoder, max_tokens: int) -> None:
    """Raises InputError where one of the first generated prompts is longer than `max_tokens`."""
    prompts = [source.get(index) for index in range(CHECKED_PROMPTS)]
    longest = max(len(ids) for ids in encode_prompts(encoder, prompts))
    if longest > max_tokens:
        raise InputError(
            f"data: with its template, its system prompt and its examples a prompt has {longest} tokens, more than "
            f"data.max_prompt_tokens={max_tokens}: raise it (and the model's context), or give fewer examples"
        )


def prepare_sandbox(config: Any) -> None:
    """Sets where the verifier `code` runs the programs of a stage with this configuration.

    Raises:
        InputError: no program can be run, and a source of the stage's data names that verifier.
    """
    if not hasattr(config, "sandbox"):
        return
    from stages.rewards.verifiers import code

    code.configure(config.sandbox)
    if any(source.verifier == "code" for source in config.data.all_sources.values()):
        with user_errors():
            code.require_sandbox()


def check_context(worker: Worker, model_dir: Path, num_tokens: int) -> None:
    """Raises InputError where the model's context is shorter than `num_tokens` (a prompt with its completion)."""
    from transformers import AutoConfig

    limit = getattr(AutoConfig.from_pretrained(model_dir).get_text_config(), "max_position_embeddings", None)
    if limit and num_tokens > limit:
        raise InputError(
            f"stages.{worker.stage} asks for {num_tokens} tokens of prompt and completion, "
            f"but the model in {model_dir} holds {limit}: "
            f"lower stages.{worker.stage}.max_completion_tokens or data.max_prompt_tokens"
        )
