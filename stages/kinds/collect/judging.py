"""From the completions of a prompt that passed the rules to those that are kept: judged where no rule could, chosen,
refined, checked again.
"""

from collections import Counter

from stages.config import CollectConfig
from stages.judges import Judged, current_judge
from stages.kinds.collect.filters import NOT_RIGHT, choose, distinct, unreadable
from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade_many
from stages.runtime.seeds import seed_for
from stages.text.completion import is_well_formed

Sampled = tuple[
    Prompt, dict
]  # and its row: {"index", "num_samples", "counts", "passed": [{"completion", "num_tokens"}], "tokens"}


def finished(batch: list[Sampled], config: CollectConfig, seed_parts: tuple) -> list[dict]:
    """The finished row of each prompt: {"index", "prompt_id", "num_samples", "num_right", "counts", "kept", "tokens"}.
    One call of the judge for each question serves all prompts. Raises JudgeUnavailable: a builder loses no data because
    a server was away.
    """
    rows = [{**row, "counts": Counter(row["counts"]), "passed": list(row["passed"])} for _, row in batch]
    _drop_wrong(batch, rows, seed_parts)
    for row in rows:
        row["num_right"] = row["num_samples"] - sum(row["counts"][reason] for reason in NOT_RIGHT)
        chosen = choose(row["passed"], row["num_right"] / row["num_samples"], config)
        if config.refine == "judge":  # refining costs money: only as many as are wanted
            chosen = chosen[: config.keep_per_prompt]
        row["counts"]["spare"] += len(row["passed"]) - len(chosen)
        row["passed"] = chosen
    if config.refine != "none":
        _refine(batch, rows, config, seed_parts)
    return [_kept(prompt, row, config) for (prompt, _), row in zip(batch, rows)]


def _drop_wrong(batch: list[Sampled], rows: list[dict], seed_parts: tuple) -> None:
    asked = [
        (i, item) for i, (prompt, _) in enumerate(batch) if prompt.verifier == "judge" for item in rows[i]["passed"]
    ]
    if not asked:
        return
    verdicts = current_judge().correct([_judged(batch[i][0], item["completion"], seed_parts) for i, item in asked])
    for (i, item), verdict in zip(asked, verdicts):
        if verdict is not True:
            rows[i]["passed"].remove(item)
            rows[i]["counts"]["unjudged" if verdict is None else "wrong"] += 1


def _refine(batch: list[Sampled], rows: list[dict], config: CollectConfig, seed_parts: tuple) -> None:
    asked = [(i, item) for i, row in enumerate(rows) for item in row["passed"]]
    items = [_judged(batch[i][0], item["completion"], seed_parts) for i, item in asked]
    if config.refine == "rules":
        from stages.worlds.tiny_world.refine import refine

        texts = [refine(item.prompt, item.completion) for item in items]
    else:
        texts = _checked(items, current_judge().refine(items), config, seed_parts)
    for row in rows:
        row["passed"] = []
    for (i, item), text in zip(asked, texts):
        if text is None:
            rows[i]["counts"]["beyond_refining"] += 1
        else:
            rows[i]["passed"].append({"completion": text, "num_tokens": None})


def _checked(
    items: list[Judged], texts: list[str | None], config: CollectConfig, seed_parts: tuple
) -> list[str | None]:
    """A refined text must still be well-formed, in one language and right: a summary that is not faithful shows here."""
    good = [
        i
        for i, text in enumerate(texts)
        if text and is_well_formed(text) and unreadable(text, items[i].prompt, config) is None
    ]
    judged = [i for i in good if items[i].prompt.verifier == "judge"]
    ruled = [i for i in good if items[i].prompt.verifier != "judge"]
    right = {i for i, grade in zip(ruled, grade_many([(texts[i], items[i].prompt) for i in ruled])) if grade.value == 1}
    if judged:
        verdicts = current_judge().correct([_judged(items[i].prompt, texts[i], seed_parts) for i in judged])
        right |= {i for i, verdict in zip(judged, verdicts) if verdict}
    return [text if i in right else None for i, text in enumerate(texts)]


def _kept(prompt: Prompt, row: dict, config: CollectConfig) -> dict:
    kept = distinct(row["passed"])[: config.keep_per_prompt]
    counts = row["counts"] + Counter(spare=len(row["passed"]) - len(kept), kept=len(kept))
    return {
        "index": row["index"],
        "prompt_id": prompt.id,
        "num_samples": row["num_samples"],
        "num_right": row["num_right"],
        "counts": dict(sorted(counts.items())),
        "kept": kept,
        "tokens": row["tokens"],
    }


def _judged(prompt: Prompt, completion: str, seed_parts: tuple) -> Judged:
    return Judged(prompt, completion, seed_for(*seed_parts, "judge", prompt.id, completion))
