"""Preferences: which of two completions people or judges prefer, and which are safe."""

from stages.data.mapping import LeftOut


def ultrafeedback(raw: dict) -> dict:
    """UltraFeedback binarized: `chosen` and `rejected` are chats with scores."""
    if raw.get("score_chosen") is not None and raw["score_chosen"] == raw.get("score_rejected"):
        raise LeftOut("a tie")
    return raw


def helpsteer2(raw: dict) -> dict:
    """HelpSteer2-Preference: `preference_strength` -3 .. 3, positive where the second response is better."""
    return _by_strength({"prompt": raw["prompt"]}, raw["response_1"], raw["response_2"], raw["preference_strength"])


def helpsteer3(raw: dict) -> dict:
    """HelpSteer3: `context` is a chat, `overall_preference` -3 .. 3, positive where the second response is better. Our
    prompts have one turn.
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
    """PKU-SafeRLHF: `better_response_id` says which of the two is more helpful."""
    better = raw["better_response_id"]
    return {"prompt": raw["prompt"], "chosen": raw[f"response_{better}"], "rejected": raw[f"response_{1 - better}"]}


def pku_labels(raw: dict) -> list[dict]:
    """PKU-SafeRLHF: two completions, each labelled safe or not."""
    return [
        {"prompt": raw["prompt"], "completion": raw[f"response_{number}"], "is_safe": raw[f"is_response_{number}_safe"]}
        for number in (0, 1)
    ]


def _by_strength(row: dict, first: str, second: str, strength: int) -> dict:
    if not strength:
        raise LeftOut("a tie")
    return {**row, "chosen": second if strength > 0 else first, "rejected": first if strength > 0 else second}
