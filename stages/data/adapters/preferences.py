"""Preference sets: which of two completions people or judges prefer, and which completions are safe."""

from stages.data.malformed import LeftOut, RowError


def ultrafeedback(raw: dict) -> dict:
    """Adapts UltraFeedback binarized, whose `chosen` and `rejected` are chats with scores; ties are left out."""
    if raw.get("score_chosen") is not None and raw["score_chosen"] == raw.get("score_rejected"):
        raise LeftOut("a tie")
    return raw


def helpsteer2(raw: dict) -> dict:
    """Adapts HelpSteer2-Preference, whose `preference_strength` -3..3 is positive for the second response."""
    return _by_strength({"prompt": raw["prompt"]}, raw["response_1"], raw["response_2"], raw["preference_strength"])


def helpsteer3(raw: dict) -> dict:
    """Adapts HelpSteer3, whose `overall_preference` -3..3 is positive where the second response is better.

    Its `context` is a chat; our prompts have one turn, so that longer chats are left out.
    """
    if len(raw["context"]) > 1:
        raise LeftOut("a chat of several turns")
    return _by_strength(
        {"prompt": raw["context"], "kind": raw.get("domain") or ""},
        raw["response1"],
        raw["response2"],
        raw["overall_preference"],
    )


def pku_preferences(raw: dict) -> dict:
    """Adapts the preferences of PKU-SafeRLHF: `better_response_id` says which completion is more helpful."""
    better = int(raw["better_response_id"])
    return {"prompt": raw["prompt"], "chosen": raw[f"response_{better}"], "rejected": raw[f"response_{1 - better}"]}


def pku_labels(raw: dict) -> list[dict]:
    """Adapts the labels of PKU-SafeRLHF: a row has two completions, each labelled safe or not."""
    return [
        {"prompt": raw["prompt"], "completion": raw[f"response_{number}"], "is_safe": raw[f"is_response_{number}_safe"]}
        for number in (0, 1)
    ]


def _by_strength(row: dict, first: str, second: str, strength: float) -> dict:
    """Returns the row with `chosen` and `rejected`; the second completion is chosen where the strength is positive."""
    if not -10 <= strength <= 10:  # of NaN neither side is true
        raise RowError("no strength", f"the strength of the preference is {strength}")
    if not strength:
        raise LeftOut("a tie")
    return {**row, "chosen": second if strength > 0 else first, "rejected": first if strength > 0 else second}
