"""Puts a prompt into the template that the model sees, and turns sampled token ids back into text."""

from typing import Any

from stages.text.completion import opening_of

# The paper's text, word for word [V1 Table 1, N]; the prompt takes the place of "prompt".
R1_ZERO_TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks "
    "about the reasoning process in the mind and then provides the user with the answer. "
    "The reasoning process and answer are "
    "enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., "
    "<think> reasoning process here </think> "
    "<answer> answer here </answer>. User: {prompt}. Assistant:"
)
PLAIN_TEMPLATE = "User:{prompt}Assistant:"


def apply_template(text: str, template: str, tokenizer: Any = None) -> str:
    """Puts a prompt into a template.

    Args:
        text: the user's words.
        template: "plain", "r1_zero" or "chat" (the chat template of the tokenizer).
        tokenizer: a Hugging Face tokenizer; needed for "chat" only.

    Returns:
        The text that the model continues.

    Raises:
        ValueError: for an unknown template, or "chat" with a tokenizer that has no chat template.
    """
    if template == "plain":
        return PLAIN_TEMPLATE.replace("{prompt}", text)
    if template == "r1_zero":
        return R1_ZERO_TEMPLATE.replace("{prompt}", text.rstrip().removesuffix("."))
    if template == "chat":
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError(
                "data.template=chat, but the model's tokenizer has no chat template: use data.template=r1_zero or plain"
            )
        return tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
    raise ValueError(f"data.template must be plain, r1_zero or chat, got {template!r}")


def encode_prompt(text: str, template: str, tokenizer: Any) -> list[int]:
    """Encodes a templated prompt as token ids.

    A chat template writes its own special tokens; the tokenizer must not put a second <bos> in front of them.
    """
    return tokenizer(text, add_special_tokens=template != "chat")["input_ids"]


def decode(ids: list[list[int]], tokenizer: Any) -> list[str]:
    """Decodes rows of token ids without the end-of-sequence token; other special tokens and tags are kept."""
    eos = tokenizer.eos_token_id
    return tokenizer.batch_decode(
        [row[:-1] if row and row[-1] == eos else row for row in ids],
        skip_special_tokens=False,
        clean_up_tokenization_spaces=False,
    )


def text_of(prompt_ids: list[int], token_ids: list[int], tokenizer: Any) -> dict[str, str]:
    """Returns the text fields of a rollout, "completion" and "opening".

    The completion begins with the opening, the part of it that the end of the prompt already contains ("<think>").
    """
    opening = opening_of(
        tokenizer.decode(prompt_ids[-8:], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )
    return {"completion": opening + decode([token_ids], tokenizer)[0], "opening": opening}
