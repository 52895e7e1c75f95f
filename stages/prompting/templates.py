"""Puts a prompt into the template that the model sees."""

from collections.abc import Sequence
from typing import Any

from stages.prompting.vocabulary import own_chat_template
from stages.text.completion import TAGS

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
_HIDDEN_TAG = 0xE7A0  # the first of the private-use characters that stand for tags while a template is rendered


def apply_template(
    text: str, template: str, tokenizer: Any = None, shots: Sequence[tuple[str, str]] = (), system: str = ""
) -> str:
    """Puts a prompt into a template.

    Args:
        text: the user's words.
        template: "plain", "r1_zero", "chat" (the chat template of the tokenizer), or the text of a Jinja template.
        tokenizer: a Hugging Face tokenizer; needed for templates that are Jinja.
        shots: worked examples in front of the prompt, each a prompt and its completion, as earlier turns of the chat.
        system: what the model is told before the chat, for templates that are Jinja.

    Returns:
        The text that the model continues.

    Raises:
        ValueError: for an unknown template, "chat" with a tokenizer that has no chat template, or a prompt that the
            template refuses.
    """
    if template == "plain":
        examples = (apply_template(words, template) + completion for words, completion in shots)
        return "".join(examples) + PLAIN_TEMPLATE.replace("{prompt}", text)
    if template == "r1_zero":
        examples = (apply_template(words, template) + completion + "\n\n" for words, completion in shots)
        return "".join(examples) + R1_ZERO_TEMPLATE.replace("{prompt}", text.rstrip().removesuffix("."))
    if template != "chat" and not is_jinja(template):
        raise ValueError(f"data.template must be plain, r1_zero or chat, got {template!r}")
    chat_template = chat_template_of(template, tokenizer)
    if not chat_template:
        raise ValueError(
            "data.template=chat, but the model's tokenizer has no chat template: use data.template=r1_zero or plain"
        )
    messages = [message for shot in shots for message in _turns(*shot)]
    messages.append({"role": "user", "content": text})
    return render_chat(messages, chat_template, tokenizer, system)


def is_jinja(template: str) -> bool:
    """Whether a template is the text of one, and no name."""
    return "{{" in template or "{%" in template


def chat_template_of(template: str, tokenizer: Any) -> str | None:
    """The Jinja template that a template is; None for plain and r1_zero, and where the tokenizer has none."""
    if template == "chat":
        return own_chat_template(tokenizer)
    return template if is_jinja(template) else None


def render_chat(messages: list[dict[str, str]], chat_template: str, tokenizer: Any, system: str = "") -> str:
    """A chat that the assistant is to go on with.

    Args:
        messages: from the first one of the user to the last one.
        chat_template: the text of a Jinja template.
        tokenizer: a Hugging Face tokenizer.
        system: a text in front of them: a system message, or part of the user's first words where the template
            refuses system messages or leaves them out.

    Raises:
        ValueError: the template refuses the chat.
    """
    if system and reaches_the_model(system, chat_template, tokenizer):
        messages = [{"role": "system", "content": system}, *messages]
    elif system:
        first, *others = messages
        messages = [{**first, "content": f"{system}\n\n{first['content']}"}, *others]
    return _rendered(messages, chat_template, tokenizer)


def reaches_the_model(system: str, chat_template: str, tokenizer: Any) -> bool:
    """Whether a chat template takes a system message and writes it."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "a"}]
    try:
        return system.strip() in _rendered(messages, chat_template, tokenizer)
    except ValueError:
        return False


def _rendered(messages: list[dict[str, str]], chat_template: str, tokenizer: Any) -> str:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, chat_template=chat_template
        )
    except (TemplateError, TypeError, KeyError, AttributeError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ValueError(f"the chat template refuses a chat of {roles}: {error}") from error
    for place, tag in enumerate(TAGS):
        text = text.replace(chr(_HIDDEN_TAG + place), tag)
    return text


def _turns(words: str, completion: str) -> list[dict[str, str]]:
    """A worked example as two turns; its tags are hidden, since templates drop the thoughts of earlier turns."""
    for place, tag in enumerate(TAGS):
        completion = completion.replace(tag, chr(_HIDDEN_TAG + place))
    return [{"role": "user", "content": words}, {"role": "assistant", "content": completion}]
