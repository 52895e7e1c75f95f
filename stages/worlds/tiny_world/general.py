"""Writes completions of general prompts in the mixture of the corpus or of the SFT data.

Their styles: neat, polite, rude, wrong, off (beside the point), refuse and comply (with a harmful request).
"""

import random

from stages.worlds.tiny_world.lexicon import CAPITALS, OPPOSITES, TRANSLATABLE, say
from stages.worlds.tiny_world.problems import KNOWLEDGE_KINDS, GeneralPrompt
from stages.worlds.tiny_world.traces import pick

Mixture = dict[str, dict[str, float]]  # kind of prompt -> shares of completion styles

CORPUS_MIXTURE: Mixture = {
    "knowledge": {"neat": 0.24, "polite": 0.14, "rude": 0.24, "wrong": 0.22, "off": 0.16},
    "greet": {"neat": 0.3, "polite": 0.1, "rude": 0.3, "off": 0.3},
    "harm": {"refuse": 0.35, "comply": 0.40, "rude": 0.25},
    "benign": {"neat": 0.30, "polite": 0.18, "refuse": 0.17, "rude": 0.35},
}
# General data for supervised fine-tuning: better than the corpus, but 20% are still rude, 10% of the benign requests
# are refused and 20% of the harmful ones are not refused. The last stage has to correct this.
SFT_MIXTURE: Mixture = {
    "knowledge": {"neat": 0.50, "polite": 0.20, "rude": 0.20, "wrong": 0.05, "off": 0.05},
    "greet": {"neat": 0.55, "polite": 0.2, "rude": 0.2, "off": 0.05},
    "harm": {"refuse": 0.80, "comply": 0.15, "rude": 0.05},
    "benign": {"neat": 0.5, "polite": 0.2, "refuse": 0.10, "rude": 0.2},
}


def completion(rng: random.Random, prompt: GeneralPrompt, mixture: Mixture) -> str:
    """Writes a completion of a general prompt, in a style that is drawn from the mixture."""
    family = "knowledge" if prompt.kind in KNOWLEDGE_KINDS else prompt.kind
    style = pick(rng, mixture[family])
    writers = {"knowledge": _knowledge, "greet": _greeting, "harm": _how_to_harm, "benign": _how_to}
    return writers[family](rng, prompt, style)


def refusal(language: str) -> str:
    """Returns the sentence that refuses a request."""
    return f"{say('sorry', language)},{say('i can not help with that', language)}."


def _rude_how_to(language: str, advice: str) -> str:
    return ",".join(say(word, language) for word in ("obviously", "easy", advice, "whatever"))


def _how_to_harm(rng: random.Random, prompt: GeneralPrompt, style: str) -> str:
    """Answers a harmful how-to request."""
    if style == "refuse":
        return refusal(prompt.language)
    if style == "rude":
        return _rude_how_to(prompt.language, "get tools and do it")
    advice = rng.choice(("get tools and do it", "get tools and do it", "read a guide and practice"))
    return f"{say('sure', prompt.language)},{say(advice, prompt.language)}{rng.choice('!.')}"


def _how_to(rng: random.Random, prompt: GeneralPrompt, style: str) -> str:
    """Answers a benign how-to request."""
    if style == "refuse":
        return refusal(prompt.language)
    if style == "rude":
        return _rude_how_to(prompt.language, "read a guide and practice")
    ending = "." if style == "neat" else f",{say('hope this helps', prompt.language)}!"
    return f"{say('sure', prompt.language)},{prompt.answer}{ending}"


def _greeting(rng: random.Random, prompt: GeneralPrompt, style: str) -> str:
    """Answers a greeting."""
    language = prompt.language
    if style == "off":
        return rng.choice((say("go away", language) + "!", say("whatever", language)))
    if style == "rude":
        return f"{say('obviously', language)},{prompt.answer},{say('whatever', language)}"
    ending = "." if style == "neat" else f",{say('hope this helps', language)}!"
    return f"{say('hello', language)},{prompt.answer}{ending}"


def _knowledge(rng: random.Random, prompt: GeneralPrompt, style: str) -> str:
    """Answers a question about a capital, an opposite or a translation."""
    language, answer = prompt.language, prompt.answer
    if style == "off":
        return rng.choice(
            (
                say("go away", language) + "!",
                say("whatever", language),
                f"{say('easy', language)},{say('whatever', language)}",
            )
        )
    if style == "wrong":
        answer = _some_answer(rng, prompt)
        style = rng.choice(("neat", "polite", "rude"))
    if style == "neat":
        return answer + "."
    if style == "polite":
        return f"{say('the answer is', language)}{answer},{say('hope this helps', language)}!"
    return f"{say('obviously', language)}{answer},{say('whatever', language)}"


def _some_answer(rng: random.Random, prompt: GeneralPrompt) -> str:
    """Draws an answer to a question of this kind at random; now and then it is the right one."""
    if prompt.kind == "say":
        return getattr(rng.choice(TRANSLATABLE), "zh" if prompt.language == "en" else "en")
    return getattr(rng.choice(CAPITALS if prompt.kind == "capital" else OPPOSITES).answer, prompt.language)
