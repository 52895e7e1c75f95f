"""What a stage is given, checked before any engine starts: prompts that fit, a context that is long enough."""

from pathlib import Path
from typing import Any

from stages.config import DataConfig
from stages.data.prompt_sources import make_source
from stages.prompting.prompt import PromptSource
from stages.prompting.templates import apply_template
from stages.runtime.errors import InputError, user_errors
from stages.runtime.worker import Worker


def open_prompts(
    worker: Worker, data: DataConfig, tokenizer, model_dir: Path, max_completion_tokens: int
) -> PromptSource:
    """The stage's training prompts. Raises InputError for unreadable rows, prompts that are too long, or too short a
    model context.
    """
    check_context(worker, model_dir, data.max_prompt_tokens + max_completion_tokens)
    with user_errors():
        source = make_source(data, worker.seed, worker.stage, "train")
        if getattr(source, "summary", ""):
            worker.say(source.summary)
        if hasattr(source, "check_lengths"):
            source.check_lengths(
                tokenizer, lambda text: apply_template(text, data.template, tokenizer), data.max_prompt_tokens
            )
    return source


def prepare_sandbox(config: Any) -> None:
    """Tells the verifier code where the stage's programs run. Raises InputError where they cannot and a source of the
    data is about programs.
    """
    if not hasattr(config, "sandbox"):
        return
    from stages.rewards.verifiers import code

    code.configure(config.sandbox)
    if any(source.verifier == "code" for source in config.data.all_sources.values()):
        with user_errors():
            code.require_sandbox()


def check_context(worker: Worker, model_dir: Path, num_tokens: int) -> None:
    """The model must be able to hold the longest prompt and completion."""
    from transformers import AutoConfig

    limit = getattr(AutoConfig.from_pretrained(model_dir), "max_position_embeddings", None)
    if limit and num_tokens > limit:
        raise InputError(
            f"stages.{worker.stage} asks for {num_tokens} tokens of prompt and completion, "
            f"but the model in {model_dir} holds {limit}: "
            f"lower stages.{worker.stage}.max_completion_tokens or data.max_prompt_tokens"
        )
