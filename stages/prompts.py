"""The door to prompts: which source a data config names, how a prompt is put before the model, and the text of what it answers."""
from typing import Any

from stages.config import DataConfig
from stages.data.file_prompts import FilePrompts
from stages.prompt import Prompt, PromptSource
from stages.reasoning_gym.source import ReasoningGymPrompts, held_out_sets as held_out_families
from stages.rewards.format import opening_of
from stages.tiny_world.sources import TinyWorldPrompts, held_out_sets

__all__ = ["FilePrompts", "Prompt", "PromptSource", "TinyWorldPrompts", "apply_template", "decode", "encode_prompt", "evaluation_sets",
           "held_out_sets", "make_source", "text_of"]

# The paper's text, word for word [V1 Table 1, N]; the prompt takes the place of "prompt".
R1_ZERO_TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant first thinks "
    "about the reasoning process in the mind and then provides the user with the answer. The reasoning process and answer are "
    "enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> answer here </answer>. User: {prompt}. Assistant:")
PLAIN_TEMPLATE = "User:{prompt}Assistant:"


def is_from_file(data: DataConfig) -> bool:
    return data.name == "file" or bool(data.all_sources)


def make_source(data: DataConfig, seed: int, stream: str, split: str = "train") -> TinyWorldPrompts | ReasoningGymPrompts | FilePrompts:
    """The prompts of a data config; `stream` (the stage's name) makes stages draw different ones."""
    if data.name == "reasoning_gym":
        return ReasoningGymPrompts(data, seed, stream, split)
    if not is_from_file(data):
        return TinyWorldPrompts(seed, stream, split)
    return FilePrompts(data, split, seed=seed, stream=stream)


def evaluation_sets(data: DataConfig, num_reasoning: int, num_general: int, num_safety: int, split: str = "test") -> dict[str, list[Prompt]]:
    """Set name -> held-out prompts: the tiny world's three sets, one for each family of reasoning-gym, or the held-out rows of each source
    with verifiable answers by its name (`file` where there is only one)."""
    if data.name == "reasoning_gym":
        return held_out_families(data, num_reasoning)
    if not is_from_file(data):
        return held_out_sets(num_reasoning, num_general, num_safety, split)
    source = make_source(data, seed=0, stream="evaluate", split=split)
    return {name: prompts[:num_reasoning] for name, prompts in source.prompts("reasoning").items()}


def apply_template(text: str, template: str, tokenizer: Any = None) -> str:
    """The prompt as the model sees it. `tokenizer` is needed for template chat only."""
    if template == "plain":
        return PLAIN_TEMPLATE.replace("{prompt}", text)
    if template == "r1_zero":
        return R1_ZERO_TEMPLATE.replace("{prompt}", text.rstrip().removesuffix("."))
    if template == "chat":
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError("data.template=chat, but the model's tokenizer has no chat template: use data.template=r1_zero or plain")
        return tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
    raise ValueError(f"data.template must be plain, r1_zero or chat, got {template!r}")


def encode_prompt(text: str, template: str, tokenizer: Any) -> list[int]:
    """Token ids of a templated prompt. A chat template writes its own special tokens, so that the tokenizer must not put a second <bos> in front."""
    return tokenizer(text, add_special_tokens=template != "chat")["input_ids"]


def decode(ids: list[list[int]], tokenizer) -> list[str]:
    """Texts without the end-of-sequence token, tags kept."""
    eos = tokenizer.eos_token_id
    return tokenizer.batch_decode([row[:-1] if row and row[-1] == eos else row for row in ids], skip_special_tokens=False,
                                  clean_up_tokenization_spaces=False)


def text_of(prompt_ids: list[int], token_ids: list[int], tokenizer) -> dict[str, str]:
    """The text fields of a rollout: the completion, with the opening that the end of the prompt has already written of it."""
    opening = opening_of(tokenizer.decode(prompt_ids[-8:], skip_special_tokens=False, clean_up_tokenization_spaces=False))
    return {"completion": opening + decode([token_ids], tokenizer)[0], "opening": opening}
