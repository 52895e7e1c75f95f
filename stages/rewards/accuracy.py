"""The accuracy reward: 1 where the final answer matches the reference, else 0 [V2 B.3.1]."""
import re
import threading

VERIFIERS = ("integer", "math", "exact")
_MATH_LIMIT_S, _MAX_MATH_CHARACTERS = 5, 500
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_INTEGER = re.compile(r"(?<![\w.])[-+]?\d{1,3}(?:,\d{3})+(?![\d,.]*\d)|[-+]?\d+")


def extract_answer(completion: str) -> str | None:
    """The final answer: the last <answer>...</answer>, else the last \\boxed{...} of the completion; None where there is neither."""
    tagged = _ANSWER.findall(completion)
    if tagged:
        boxed = _last_boxed(tagged[-1])
        return (boxed if boxed is not None else tagged[-1]).strip()
    return _last_boxed(completion)


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed{")
    for position in range(begin - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin:position]
    return None


def read_integer(text: str) -> int | None:
    """The one integer a text names, once or several times; None where it names none, different ones, or a fraction."""
    if re.search(r"\d\.\d", text):
        return None
    found = {int(match.replace(",", "")) for match in _INTEGER.findall(text)}
    return found.pop() if len(found) == 1 else None


def is_readable_answer(answer: str, verifier: str) -> bool:
    """Whether a reference answer can be compared at all."""
    if verifier == "integer":
        return read_integer(answer) is not None
    if verifier == "math":
        return bool(_parse_math(answer))
    return bool(answer.strip())


def verify(completion: str, answer: str, verifier: str = "integer") -> bool:
    """Whether the completion's final answer matches the reference. integer: the same integer; math: equivalent by Math-Verify;
    exact: the same text, apart from case and white space."""
    given = extract_answer(completion)
    if given is None:
        return False
    if verifier == "integer":
        value = read_integer(given)
        return value is not None and value == read_integer(answer)
    if verifier == "exact":
        return _plain(given) == _plain(answer)
    if verifier == "math":
        return _is_equivalent(given, answer)
    raise ValueError(f"data.verifier must be one of {', '.join(VERIFIERS)}, got {verifier!r}")


def vote_of(completion: str, verifier: str = "integer") -> str | None:
    """The final answer in a form that can be counted in a majority vote: "the answer is46" and "46" are one vote."""
    given = extract_answer(completion)
    if given is None:
        return None
    if verifier == "integer":
        value = read_integer(given)
        return None if value is None else str(value)
    if verifier == "math":
        parsed = _parse_math(given)
        return str(parsed[0]) if parsed else None
    return _plain(given)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


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
