"""Programming sets: their tests become the `checks` of the verifier `code`.

`stages/rewards/verifiers/code_checks.py` explains the form of the checks.
"""

import json
from typing import Any

from stages.data.malformed import LeftOut

_STARTER = "\n\nStart from this code:\n```python\n{}\n```"


def apps(raw: dict) -> dict:
    """Adapts APPS and TACO.

    Their `input_output` is JSON with `inputs`, `outputs` and, for problems that ask for a function, `fn_name`.
    """
    tests = raw["input_output"] or {}
    if isinstance(tests, str):
        tests = json.loads(tests)
    inputs, outputs = tests.get("inputs") or [], tests.get("outputs") or []
    if not inputs or len(inputs) != len(outputs):
        raise LeftOut("no tests")
    starter = (raw.get("starter_code") or "").strip()
    # TACO writes its limits as "2.0 seconds" and "256.0 megabytes".
    limits = _limits(_number(raw.get("time_limit")), _number(raw.get("memory_limit"), "mega"))
    return {
        "prompt": raw["question"].strip() + (_STARTER.format(starter) if starter else ""),
        "kind": raw.get("difficulty"),
        "checks": json.dumps(
            {**{name: tests[name] for name in ("inputs", "outputs", "fn_name") if tests.get(name)}, **limits},
            ensure_ascii=False,
        ),
    }


def code_contests(raw: dict) -> dict:
    """Adapts CodeContests, whose public, private and generated tests are mappings of lists.

    Where several outputs of a test are right, the set knows only one of them.
    """
    pairs = []
    for part in ("public_tests", "private_tests", "generated_tests"):
        tests = raw.get(part) or {}
        for given, expected in zip(tests.get("input") or [], tests.get("output") or []):
            pairs.append({"input": given, "output": expected})
    if not pairs:
        raise LeftOut("no tests")
    if "<image>" in raw["description"]:
        raise LeftOut("needs an image")
    limit = raw.get("time_limit") or {}
    seconds = (limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9
    return {
        "prompt": raw["description"].strip(),
        "id": raw.get("name") or "",
        "checks": stdin_checks(pairs, _limits(seconds, (raw.get("memory_limit_bytes") or 0) / 2**20)),
    }


def codeforces(raw: dict) -> dict:
    """Adapts open-r1/codeforces, whose statement is in parts.

    Problems with files, interaction or a checker of their own are left out: output alone does not decide them.
    """
    if raw.get("input_mode") not in (None, "stdio"):
        raise LeftOut("reads files")
    if raw.get("interaction_format"):
        raise LeftOut("interactive")
    if raw.get("generated_checker"):
        raise LeftOut("needs its own checker")
    tests = [test for test in raw.get("official_tests") or [] if not _is_cut(test)]
    if not tests:
        raise LeftOut("no tests")
    parts = [
        f"# {raw['title']}" if raw.get("title") else "",
        raw["description"],
        _part("Input", raw.get("input_format")),
        _part("Output", raw.get("output_format")),
        *(_example(example) for example in raw.get("examples") or []),
        _part("Note", raw.get("note")),
    ]
    return {
        "prompt": "\n\n".join(part.strip() for part in parts if part and part.strip()),
        "id": raw["id"],
        "kind": raw.get("rating"),
        "checks": stdin_checks(
            [{"input": test["input"], "output": test["output"]} for test in tests],
            _limits(raw.get("time_limit"), raw.get("memory_limit")),
        ),
    }


def stdin_checks(tests: list[dict], limits: dict[str, Any]) -> str:
    """Returns the `checks` of a problem that is tested by standard input and output, as JSON."""
    return json.dumps({"type": "stdin", "tests": tests, **limits}, ensure_ascii=False)


def _limits(seconds: float | None, mebibytes: float | None) -> dict[str, Any]:
    """Returns the problem's limits, within those that the verifier accepts; limits that are not given are left out."""
    limits: dict[str, Any] = {"time_limit_s": min(max(float(seconds), 0.1), 60.0)} if seconds else {}
    return limits | ({"memory_mib": min(max(int(mebibytes), 64), 16384)} if mebibytes else {})


def _number(text: Any, unit: str = "") -> float | None:
    """Returns the number of a text like "2.0 seconds", or None where it is in another unit."""
    try:
        return float(str(text).split()[0]) if unit in str(text) else None
    except (ValueError, IndexError):
        return None


def _part(title: str, text: str | None) -> str:
    return f"## {title}\n\n{text.strip()}" if text and text.strip() else ""


def _example(example: dict) -> str:
    return f"## Example\n\nInput:\n```\n{example['input'].strip()}\n```\nOutput:\n```\n{example['output'].strip()}\n```"


def _is_cut(test: dict) -> bool:
    """Returns whether Codeforces shows only the beginning of a long test."""
    return test["input"].rstrip().endswith("...") or test["output"].rstrip().endswith("...")
