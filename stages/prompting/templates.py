"""How a prompt is put before the model, and the text of what it answers."""

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
    """The prompt as the model sees it. `tokenizer` is needed for template chat only."""
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
    """Token ids of a templated prompt. A chat template writes its own special tokens, so that the tokenizer must not
    put a second <bos> in front.
    """
    return tokenizer(text, add_special_tokens=template != "chat")["input_ids"]


def decode(ids: list[list[int]], tokenizer) -> list[str]:
    """Texts without the end-of-sequence token, tags kept."""
    eos = tokenizer.eos_token_id
    return tokenizer.batch_decode(
        [row[:-1] if row and row[-1] == eos else row for row in ids],
        skip_special_tokens=False,
        clean_up_tokenization_spaces=False,
    )


def text_of(prompt_ids: list[int], token_ids: list[int], tokenizer) -> dict[str, str]:
    """The text fields of a rollout: the completion, with the opening that the end of the prompt has already written of
    it.
    """
    opening = opening_of(
        tokenizer.decode(prompt_ids[-8:], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )
    return {"completion": opening + decode([token_ids], tokenizer)[0], "opening": opening}
