"""Programming problems: their tests as the `checks` of the verifier `code`: {"type", "language", "tests": [{"input", "output"}], ...}."""
import json
from typing import Any

from stages.data.mapping import LeftOut

_STARTER = "\n\nStart from this code:\n```python\n{}\n```"


def apps(raw: dict) -> dict:
    """APPS and TACO: `input_output` is JSON with `inputs`, `outputs` and, for problems that ask for a function, `fn_name`."""
    tests = json.loads(raw["input_output"] or "{}") if isinstance(raw["input_output"], str) else raw["input_output"] or {}
    inputs, outputs = tests.get("inputs") or [], tests.get("outputs") or []
    if not inputs or len(inputs) != len(outputs):
        raise LeftOut("no tests")
    name = tests.get("fn_name")
    pairs = [{"input": _call(given), "output": _result(expected)} if name else {"input": _text(given), "output": _text(expected)}
             for given, expected in zip(inputs, outputs)]
    starter = (raw.get("starter_code") or "").strip()
    limits = {"time_limit_s": _seconds(raw.get("time_limit")), "memory_mib": _mebibytes(raw.get("memory_limit"))}
    return {"prompt": raw["question"].strip() + (_STARTER.format(starter) if starter else ""), "kind": raw.get("difficulty") or "",
            "checks": checks(pairs, fn_name=name, **limits)}


def code_contests(raw: dict) -> dict:
    """CodeContests: public, private and generated tests, each a mapping of lists; only one right output is known where several are right."""
    pairs = [{"input": given, "output": expected} for part in ("public_tests", "private_tests", "generated_tests")
             for given, expected in zip((raw.get(part) or {}).get("input") or [], (raw.get(part) or {}).get("output") or [])]
    if not pairs:
        raise LeftOut("no tests")
    if "<image>" in raw["description"]:
        raise LeftOut("needs an image")
    limit = raw.get("time_limit") or {}
    seconds = limit.get("seconds", 0) + limit.get("nanos", 0) / 1e9 if limit else None
    return {"prompt": raw["description"].strip(), "id": raw.get("name") or "",
            "checks": checks(pairs, time_limit_s=seconds or None, memory_mib=(raw.get("memory_limit_bytes") or 0) / 2**20 or None)}


def codeforces(raw: dict) -> dict:
    """open-r1/codeforces: a statement in parts; problems with files, interaction or a checker of their own cannot be compared by output."""
    if raw.get("input_mode") not in (None, "stdio"):
        raise LeftOut("reads files")
    if raw.get("interaction_format"):
        raise LeftOut("interactive")
    if raw.get("generated_checker"):
        raise LeftOut("needs its own checker")
    tests = [test for test in raw.get("official_tests") or [] if not _is_cut(test)]
    if not tests:
        raise LeftOut("no tests")
    parts = [f"# {raw['title']}" if raw.get("title") else "", raw["description"], _part("Input", raw.get("input_format")),
             _part("Output", raw.get("output_format")), *(_example(example) for example in raw.get("examples") or []), _part("Note", raw.get("note"))]
    return {"prompt": "\n\n".join(part.strip() for part in parts if part and part.strip()), "id": raw["id"], "kind": str(raw.get("rating") or ""),
            "checks": checks([{"input": test["input"], "output": test["output"]} for test in tests], time_limit_s=raw.get("time_limit"),
                             memory_mib=raw.get("memory_limit"))}


def checks(tests: list[dict], fn_name: str | None = None, time_limit_s: float | None = None, memory_mib: float | None = None) -> str:
    """What the verifier `code` is told, as JSON."""
    settings: dict[str, Any] = {"type": "call" if fn_name else "stdin", "language": "python", "tests": tests}
    settings |= {"fn_name": fn_name} if fn_name else {}
    settings |= {"time_limit_s": float(time_limit_s)} if time_limit_s else {}
    settings |= {"memory_mib": int(memory_mib)} if memory_mib else {}
    return json.dumps(settings, ensure_ascii=False)


def _text(value: Any) -> str:
    """Some rows hold a list of lines where others hold the text."""
    return value if isinstance(value, str) else "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _call(arguments: Any) -> Any:
    """Arguments of a call are a list; LeetCode's come as one line of JSON each."""
    if isinstance(arguments, str):
        return [json.loads(line) for line in arguments.splitlines() if line.strip()]
    return arguments if isinstance(arguments, list) else [arguments]


def _result(expected: Any) -> Any:
    """The value a call returns: the sets wrap it in a list of one, or write it as JSON."""
    if isinstance(expected, str):
        try:
            return json.loads(expected)
        except ValueError:
            return expected
    return expected[0] if isinstance(expected, list) and len(expected) == 1 else expected


def _seconds(text: Any) -> float | None:
    """TACO writes "2.0 seconds"."""
    try:
        return float(str(text).split()[0])
    except (ValueError, IndexError):
        return None


def _mebibytes(text: Any) -> float | None:
    """TACO writes "256.0 megabytes"."""
    number = _seconds(text)
    return number if number and "mega" in str(text) else None


def _part(title: str, text: str | None) -> str:
    return f"## {title}\n\n{text.strip()}" if text and text.strip() else ""


def _example(example: dict) -> str:
    return f"## Example\n\nInput:\n```\n{example['input'].strip()}\n```\nOutput:\n```\n{example['output'].strip()}\n```"


def _is_cut(test: dict) -> bool:
    """Codeforces shows long tests cut short."""
    return test["input"].rstrip().endswith("...") or test["output"].rstrip().endswith("...")
