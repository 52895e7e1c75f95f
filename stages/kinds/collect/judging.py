"""Chooses what is kept of the completions that passed the rules.

Completions that no rule can grade are judged; the chosen ones are refined, and what was refined is checked again.
"""

from collections import Counter

from stages.config import CollectConfig
from stages.judges import Judged, current_judge
from stages.kinds.collect.filters import NOT_RIGHT, choose, distinct, unreadable
from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade_many
from stages.runtime.seeds import seed_for
from stages.text.completion import is_well_formed

# A prompt and its row: {"index", "num_samples", "counts", "passed": [{"completion", "num_tokens"}], "tokens"}.
Sampled = tuple[Prompt, dict]


def finished(batch: list[Sampled], config: CollectConfig, seed_parts: tuple) -> list[dict]:
    """Finishes the sampled prompts; one call of the judge for each question serves all of them.

    Args:
        batch: The prompts with their sampled rows.
        config: The stage's configuration.
        seed_parts: The seed and the stage, of which the judge's seeds are made.

    Returns:
        A row for each prompt: {"index", "prompt_id", "num_samples", "num_right", "counts", "kept", "tokens"}.

    Raises:
        JudgeUnavailable: The judge cannot be asked: no data is lost because a server was away.
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
    """Asks the judge about the completions that no rule can grade, and drops those that it does not call right."""
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
    """Puts the refined text in the place of each completion that passed; those that came to nothing are counted."""
    places = [place for place, row in enumerate(rows) for _ in row["passed"]]
    completions = [item["completion"] for row in rows for item in row["passed"]]
    items = [_judged(batch[place][0], completion, seed_parts) for place, completion in zip(places, completions)]
    if config.refine == "rules":
        from stages.worlds.tiny_world.refine import refine

        texts = [refine(item.prompt, item.completion) for item in items]
    else:
        texts = _checked(items, current_judge().refine(items), config, seed_parts)
    for row in rows:
        row["passed"] = []
    for place, text in zip(places, texts):
        if text is None:
            rows[place]["counts"]["beyond_refining"] += 1
        else:
            rows[place]["passed"].append({"completion": text, "num_tokens": None})


def _checked(
    items: list[Judged], texts: list[str | None], config: CollectConfig, seed_parts: tuple
) -> list[str | None]:
    """The refined texts that are still well-formed, readable and right; None in the place of the others."""
    ruled: dict[int, tuple[str, Prompt]] = {}  # place -> text and prompt; likewise those for the judge
    judged: dict[int, tuple[str, Prompt]] = {}
    for place, (item, text) in enumerate(zip(items, texts)):
        if text and is_well_formed(text) and unreadable(text, item.prompt, config) is None:
            (judged if item.prompt.verifier == "judge" else ruled)[place] = (text, item.prompt)
    right = {place for place, grade in zip(ruled, grade_many(list(ruled.values()))) if grade.value == 1}
    if judged:
        questions = [_judged(prompt, text, seed_parts) for text, prompt in judged.values()]
        right |= {place for place, verdict in zip(judged, current_judge().correct(questions)) if verdict}
    return [text if place in right else None for place, text in enumerate(texts)]


def _kept(prompt: Prompt, row: dict, config: CollectConfig) -> dict:
    """The finished row of a prompt: at most `keep_per_prompt` distinct completions are kept, the others are spare."""
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
    """What the judge is asked about, with a seed of its own."""
    return Judged(prompt, completion, seed_for(*seed_parts, "judge", prompt.id, completion))
