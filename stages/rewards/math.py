"""Verifier `math`: the final answer is equivalent to the reference by Math-Verify."""
import threading

from stages.prompt import Prompt
from stages.rewards.answers import extract_answer

_MATH_LIMIT_S, _MAX_MATH_CHARACTERS = 5, 500


def grade(completion: str, prompt: Prompt) -> float:
    given = extract_answer(completion)
    return float(given is not None and _is_equivalent(given, prompt.answer))


def vote(completion: str, prompt: Prompt) -> str | None:
    given = extract_answer(completion)
    parsed = _parse_math(given) if given is not None else []
    return str(parsed[0]) if parsed else None


def problem(prompt: Prompt) -> str | None:
    return None if _parse_math(prompt.answer) else f"{prompt.answer[:60]!r} is not mathematics that Math-Verify reads"


def _limit_s() -> int | None:
    """Seconds for one answer. The limit is an alarm signal, which only the main thread can set; elsewhere there is none."""
    return _MATH_LIMIT_S if threading.current_thread() is threading.main_thread() else None


def _parse_math(text: str) -> list:
    """Math-Verify's reading, without the plain strings that it falls back to."""
    from math_verify import parse

    if len(text) > _MAX_MATH_CHARACTERS:
        return []
    return [item for item in parse(text if "$" in text or "\\boxed" in text else f"${text}$", parsing_timeout=_limit_s())
            if not isinstance(item, str)]


def _is_equivalent(given: str, answer: str) -> bool:
    from math_verify import verify as are_equivalent

    reference, candidate = _parse_math(answer), _parse_math(given)
    return bool(reference and candidate) and bool(are_equivalent(reference, candidate, timeout_seconds=_limit_s()))
