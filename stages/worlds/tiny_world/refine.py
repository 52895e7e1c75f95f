"""Refines cold-start traces deterministically, in place of the paper's LLM [V2 B.3.2].

A refined completion has the same reasoning in one language and a readable answer.
"""

from stages.prompting.prompt import Prompt
from stages.text.completion import split_completion
from stages.text.integers import read_integer
from stages.worlds.tiny_world.lexicon import language_of, say, split_units, translate

FILLERS = ("obviously", "whatever")


def refine(prompt: Prompt, completion: str, max_foreign_share: float = 0.5) -> str | None:
    """Refines a completion.

    Args:
        prompt: its prompt, which names the language to write in.
        completion: the text to refine.
        max_foreign_share: largest share of the thought's words that may be in the other language.

    Returns:
        The refined completion; None where it is malformed, has no words of thought, names no single integer as its
        answer, or mixes languages too much.
    """
    parts = split_completion(completion)
    if parts is None:
        return None
    thought, answer = split_units(parts[0]), read_integer(parts[1])
    words = [unit for unit in thought if language_of(unit)]
    num_foreign = sum(language_of(word) != prompt.language for word in words)
    if answer is None or not words or num_foreign > max_foreign_share * len(words):
        return None
    clean = _without_fillers([translate(unit, prompt.language) for unit in thought], prompt.language)
    return f"<think>{''.join(clean)}</think><answer>{say('the answer is', prompt.language)}{answer}</answer>"


def _without_fillers(units: list[str], language: str) -> list[str]:
    """Removes fillers, words that are repeated at once, and the commas that are then too many."""
    fillers = {say(word, language) for word in FILLERS}
    kept: list[str] = []
    for unit in units:
        is_repeated = bool(kept) and unit == kept[-1] and (language_of(unit) is not None or unit == ",")
        if unit not in fillers and not is_repeated and not (unit == "," and not kept):
            kept.append(unit)
    return kept
