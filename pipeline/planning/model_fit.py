"""Whether the models from outside can do what the stages ask of them, as far as their small files tell.

A stage checks the same with the model itself, minutes later: the context that a prompt and its completion need, a chat
template, an end of sequence, and attention heads that vLLM has kernels for.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.configuration.graph import family_of
from pipeline.configuration.model_directory import locate
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MessageAndFix, MissingInput
from pipeline.planning.devices import num_gpus
from pipeline.planning.shapes import shape_of
from stages.config import ModelConfig
from stages.contract.files import find_json
from stages.contract.head_sizes import wrong_heads
from stages.contract.model_directory import text_config
from stages.contract.split_heads import why_not_split

if TYPE_CHECKING:
    from pipeline.planning.plan import Step

END_FILES = (("tokenizer_config.json", "eos_token"), ("config.json", "eos_token_id"),
             ("generation_config.json", "eos_token_id"))  # fmt: skip


def check_models(config: RunConfig, steps: Iterable["Step"]) -> list[MessageAndFix]:
    """What the models of the stages that are going to run cannot do, each thing once."""
    errors: list[MessageAndFix] = []
    for step in steps:
        if step.is_made or step.config is None or getattr(step.config, "directories", []):
            continue
        model = config.model_of(step.stage)
        errors += _too_long(step, model)
        directory = _directory(model)
        errors += _not_split(step, model, directory)
        if directory is not None:
            errors += [*_without_template(step, directory), *_without_end(directory), *_wrong_heads(step, directory)]
    return list(dict.fromkeys(errors))


def _directory(model: ModelConfig) -> Path | None:
    """Where a model from outside lies; None for the recipe's own, and for one that the plan calls missing."""
    try:
        return locate(model.path, model.revision) if model.path else None
    except MissingInput:
        return None


def context_of(model: ModelConfig) -> int | None:
    """The longest sequence of a model, tokens; None where nothing says it."""
    if not model.path:
        return model.max_positions
    directory = _directory(model)
    found = find_json(directory / "config.json") if directory else None
    limit = text_config(found).get("max_position_embeddings") if isinstance(found, dict) else None
    return limit if isinstance(limit, int) and limit > 0 else None


def _too_long(step: "Step", model: ModelConfig) -> list[MessageAndFix]:
    """A prompt and its completion that the model's context does not hold."""
    limit = context_of(model)
    if limit is None:
        return []
    where = model.path or "the recipe's own model"
    errors = []
    for key, prompt, completion in _lengths(step):
        if prompt + completion > limit:
            asked = f"{prompt:,} tokens of prompt and {completion:,} of completion" if prompt > 1 else (
                f"completions of {completion:,} tokens besides the prompt"
            )  # fmt: skip
            fix = f"lower {key}" + (" or data.max_prompt_tokens" if prompt > 1 else "")
            fix += "" if model.path else ", or raise model.max_positions (student.max_positions)"
            errors.append((f"{step.stage} asks for {asked}, but {where} holds {limit:,}", fix))
    return errors


def _lengths(step: "Step") -> list[tuple[str, int, int]]:
    """(key, tokens of a prompt, of a completion) of what a stage samples; an evaluated prompt has at least one."""
    config: Any = step.config
    if step.kind == "grpo":
        longest = max(item[1] for item in config.max_completion_tokens)
        return [(f"stages.{family_of(step.stage)}.max_completion_tokens", config.data.max_prompt_tokens, longest)]
    if step.kind in ("collect", "reward_models"):
        return [(f"stages.{family_of(step.stage)}.max_completion_tokens", config.data.max_prompt_tokens,
                 config.max_completion_tokens)]  # fmt: skip
    if step.kind == "evaluate":
        suites = {f"eval.{name}": suite.max_completion_tokens for name, suite in config.settings.items()}
        return [
            (f"{key}.max_completion_tokens", 1, longest)
            for key, longest in (suites or {"stages.evaluate": config.max_completion_tokens}).items()
        ]
    return []


def _without_template(step: "Step", directory: Path) -> list[MessageAndFix]:
    """The template `chat` for a model whose tokenizer has none."""
    section = step.config if step.kind == "sft" else getattr(step.config, "data", None)
    if getattr(section, "template", "") != "chat" or step.kind == "evaluate":
        return []
    tokenizer = find_json(directory / "tokenizer_config.json")
    has_own = isinstance(tokenizer, dict) and tokenizer.get("chat_template")
    if has_own or any((directory / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return []
    key = f"stages.{family_of(step.stage)}.template" if step.kind == "sft" else "data.template"
    message = (
        f"{step.stage} puts its prompts into the template chat, but the tokenizer in {directory} has no chat template"
    )
    return [(message, f"{key}=r1_zero or plain, or a file of your own: {key}=FILE.jinja")]


def _without_end(directory: Path) -> list[MessageAndFix]:
    """A model none of whose files names the token that ends a text; one without readable files is another mistake."""
    if not all(isinstance(find_json(directory / name), dict) for name in ("config.json", "tokenizer_config.json")):
        return []
    for name, key in END_FILES:
        found = find_json(directory / name)
        if isinstance(found, dict) and found.get(key) is not None:
            return []
    message = f"the tokenizer in {directory} has no end-of-sequence token, and its configuration names none"
    return [(message, "set eos_token in its tokenizer_config.json")]


def _not_split(step: "Step", model: ModelConfig, directory: Path | None) -> list[MessageAndFix]:
    """A model whose rows the ranks of a sequence group cannot hold together."""
    deepspeed = getattr(step.config, "deepspeed", None)
    if deepspeed is None or deepspeed.sequence_parallel == 1:
        return []
    found = find_json(directory / "config.json") if directory is not None else None
    shape = shape_of(model) if directory is None else None  # of the recipe's own, or known by its name
    if shape is not None and shape.heads:
        found = {"num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads}
    if not isinstance(found, dict) or not (why := why_not_split(text_config(found), deepspeed.sequence_parallel)):
        return []
    which = f"the model in {directory}" if directory else model.path or "the recipe's own model"
    key = f"deepspeed.sequence_parallel (or stages.{family_of(step.stage)}.deepspeed.sequence_parallel)"
    return [(f"{step.stage}: {deepspeed.sequence_parallel} ranks cannot hold the rows together: {which} {why}",
             f"set {key} to 1, or to a number that does")]  # fmt: skip


def _wrong_heads(step: "Step", directory: Path) -> list[MessageAndFix]:
    """Attention heads for which vLLM has no kernel on a CPU."""
    rollout, found = getattr(step.config, "rollout", None), find_json(directory / "config.json")
    if rollout is None or not rollout.is_vllm or num_gpus() != 0 or not isinstance(found, dict):
        return []
    why = wrong_heads(text_config(found))
    return [(f"the model in {directory} {why}", "use rollout=transformers")] if why else []
