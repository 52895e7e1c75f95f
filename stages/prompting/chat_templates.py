"""Chat templates of the recipe's own: of the text templates, and with a system prompt and worked examples in front.

What a stage puts before its prompts becomes one Jinja template. It is exported with the model, so that other engines
render the very prompts that the model was trained on.
"""

import json
import re
from typing import Any

from stages.prompting.templates import PLAIN_TEMPLATE, R1_ZERO_TEMPLATE, chat_template_of, reaches_the_model
from stages.prompting.vocabulary import vocabulary_of
from stages.runtime.errors import InputError
from stages.text.completion import TAGS

# Thoughts of earlier turns are left out, as in DeepSeek-R1's own template; `thinking=true` makes the reply begin with
# <think>, which its model card recommends. {begin}: what the tokenizer puts in front of every text.
_CHAT = (
    "{begin}{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\\n' %}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] if loop.last else message['content'].split('</think>')[-1] }}{{ eos_token }}"
    "{% else %}{% set text = ns.system + message['content'] %}{% set ns.system = '' %}{user}{% endif %}"
    "{% endfor %}{% if add_generation_prompt and thinking is defined and thinking %}{{ '<think>' }}{% endif %}"
)
# `text.rstrip().removesuffix('.')` in words that llama.cpp's Jinja knows too
_WITHOUT_FULL_STOP = "(text.rstrip()[:-1] if text.rstrip().endswith('.') else text.rstrip())"
_BEGINS, _ENDS = "{#- r1: what a stage puts before every chat #}", "{#- r1: the template itself #}\n"
_HIDDEN_TAG = 0xE7B0  # the first of the private-use characters that stand for the tags of examples


def as_chat_template(template: str, tokenizer: Any) -> str | None:
    """A template as Jinja: that of plain or r1_zero, which writes what the tokenizer does; chat's own; or itself."""
    if template not in ("plain", "r1_zero"):
        return chat_template_of(template, tokenizer)
    before, after = {"plain": PLAIN_TEMPLATE, "r1_zero": R1_ZERO_TEMPLATE}[template].split("{prompt}")
    words = "text" if template == "plain" else _WITHOUT_FULL_STOP
    user = f"{{{{ {before!r} + {words} + {after!r} }}}}"
    return _CHAT.replace("{begin}", beginning(tokenizer)).replace("{user}", user)


def beginning(tokenizer: Any) -> str:
    """What the tokenizer puts in front of every text, in Jinja: mostly nothing or the beginning of sequence."""
    prefix = vocabulary_of(tokenizer).prefix
    if prefix == [tokenizer.bos_token_id]:
        return "{{ bos_token }}"
    return f"{{{{ {''.join(tokenizer.convert_ids_to_tokens(prefix))!r} }}}}" if prefix else ""


def with_instructions(template: str, system: str, examples: str, tokenizer: Any) -> str:
    """A template that puts a system prompt and worked examples before every chat.

    The system prompt gives way to one of the chat's own. A template that has such instructions already, as an export
    has, gets these in their place.

    Args:
        template: plain, r1_zero, chat, or the text of a Jinja template.
        system: The system prompt; "" for none.
        examples: Messages of users and assistants in turn, as JSON; "" for none.
        tokenizer: Of the model.

    Returns:
        The text of a Jinja template; `template` where there are no instructions.

    Raises:
        InputError: The instructions contain the name of a control token, or there is no chat template.
    """
    if not system and not examples:
        return template
    base = as_chat_template(template, tokenizer)
    if not base:
        raise InputError(
            "data.template=chat, but the model's tokenizer has no chat template: use data.template=r1_zero or plain"
        )
    base = _without_instructions(base)
    turns: list[dict[str, str]] = json.loads(examples) if examples else []
    _refuse_control_tokens(system, turns, tokenizer)
    first: list[dict[str, str]] = []
    fold = ""
    if system and reaches_the_model(system, base, tokenizer):
        first = [{"role": "system", "content": system}]
    elif system and turns:
        turns[0]["content"] = f"{system}\n\n{turns[0]['content']}"
    elif system:
        # Some engines give the parts of a message in the place of its text.
        content = "messages[0]['content']"
        content = f"({content} if {content} is string else {content} | map(attribute='text') | join(''))"
        words = f"{json.dumps(system, ensure_ascii=False)} + '\\n\\n' + {content}"
        fold = f"{{%- set messages = [{{'role': 'user', 'content': {words}}}] + messages[1:] %}}"
    head = (
        f"{{%- set messages = messages[:1] + {_literal(turns)} + messages[1:] if messages[0]['role'] == 'system' "
        f"else {_literal([*first, *turns])} + messages %}}{fold}"
    )
    opens = "|".join(f"replace('{chr(_HIDDEN_TAG + place)}', '{tag}')" for place, tag in enumerate(TAGS))
    base = base.removesuffix("\n")  # a template's last line break is no part of it
    return f"{_BEGINS}{head}{{% filter {opens} %}}{_ENDS}{base}{{% endfilter %}}"


def _without_instructions(chat_template: str) -> str:
    """The template itself, where a stage has put instructions in front of it."""
    if _BEGINS not in chat_template:
        return chat_template
    return chat_template.partition(_ENDS)[2].removesuffix("{% endfilter %}")


def _literal(messages: list[dict[str, str]]) -> str:
    """Messages as Jinja reads them; the tags of completions are hidden, since templates drop thoughts of old turns."""
    text = json.dumps(messages, ensure_ascii=False)
    return re.sub("|".join(TAGS), lambda tag: chr(_HIDDEN_TAG + TAGS.index(tag[0])), text)


def _refuse_control_tokens(system: str, turns: list[dict[str, str]], tokenizer: Any) -> None:
    """Raises InputError: other engines could not tell such a name in the template from the token."""
    names = vocabulary_of(tokenizer).controls("")
    texts = [("data.system", system), *(("data.examples", turn["content"]) for turn in turns)]
    for key, text in texts:
        for name in names:
            if name in text:
                raise InputError(
                    f"{key} contains {name}, which is a control token of the model: write it in another way"
                )
