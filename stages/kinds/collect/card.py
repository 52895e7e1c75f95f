"""The data card: what each filter left, the table of domains [V2 Table 5], who refined and reviewed.

    data/card.json   for programs
    data/card.md     for people

Both are files of the manifest, and so depend on the data alone: they hold no times and no costs.
"""

from collections import Counter
from pathlib import Path

from stages.config import CollectConfig
from stages.contract import files
from stages.kinds.collect.filters import REASONS

TITLES = {
    "truncated": "cut at the length limit",
    "malformed": "not a thought and an answer in their tags",
    "wrong": "wrong answer",
    "mixed_language": "thought not in the prompt's language",
    "repetitive": "repetitive",
    "too_long": "longer than max_kept_tokens",
    "code_block": "code block in the thought",
    "long_paragraph": "long paragraph in the thought",
    "held_out": "holds parts of held-out problems",
    "unjudged": "the grader failed, or the judge's verdict was not understood",
    "beyond_refining": "no readable, right text came of refining",
    "spare": "good, but its prompt has enough",
    "kept": "kept",
}


def domain_table(rows: list[dict], num_tokens: list[int]) -> list[dict]:
    """The rows of the paper's Table 5: samples, rounds and mean tokens of completions by domain, the total last.

    The domain of a sampled prompt is its kind; all other rows are `general`.
    """
    groups: dict[str, list[int]] = {}
    for row, tokens in zip(rows, num_tokens, strict=True):
        groups.setdefault(row["kind"] if row["source"] == "sampled" else "general", []).append(tokens)
    ordered = sorted(groups.items(), key=lambda item: (item[0] == "general", item[0]))
    ordered.append(("total", list(num_tokens)))
    return [
        {
            "domain": name,
            "samples": len(tokens),
            "avg_rounds": 1.0,
            "avg_tokens": round(sum(tokens) / max(1, len(tokens)), 1),
        }
        for name, tokens in ordered
    ]


def card_of(stage: str, config: CollectConfig, prompts: list[dict], table: list[dict], review: dict | None) -> dict:
    """The content of the card; `prompts` holds the finished row of each prompt."""
    counts = sum((Counter(row["counts"]) for row in prompts), Counter())
    easy = [row for row in prompts if row["num_right"] / row["num_samples"] > config.easy_pass_rate]
    return {
        "stage": stage,
        "prompts": len(prompts),
        "prompts_with_a_right_answer": sum(row["num_right"] > 0 for row in prompts),
        "prompts_kept": sum(bool(row["kept"]) for row in prompts),
        "easy_prompts": len(easy),
        "completions": sum(row["num_samples"] for row in prompts),
        "filters": {reason: counts[reason] for reason in REASONS},
        "temperature": config.rollout.temperature,
        "refined_by": {"none": None, "rules": "tiny world"}.get(
            config.refine, config.judge.model or config.judge.backend
        ),
        "review": review,
        "table": table,
    }


def write_card(directory: Path, card: dict) -> None:
    """Writes the card in both forms."""
    files.write_json(directory / "data" / "card.json", card)
    files.write_atomic(directory / "data" / "card.md", as_markdown(card).encode())


def as_markdown(card: dict) -> str:
    """The card as people read it."""
    lines = [
        f"# Data of `{card['stage']}`",
        "",
        f"{card['completions']:,} completions of {card['prompts']:,} prompts, "
        f"drawn at temperature {card['temperature']:g}; "
        f"{card['prompts_with_a_right_answer']:,} prompts have a right one, {card['prompts_kept']:,} a kept one, "
        f"{card['easy_prompts']:,} are easy.",
        "",
    ]
    if card["refined_by"]:
        lines += [f"Refined by: {card['refined_by']}.", ""]
    if card["review"]:
        review = card["review"]
        lines += [
            f"Reviewed by people: {review['examples']:,} examples, {review['edited']:,} edited, "
            f"{review['dropped']:,} dropped; "
            f"SHA-256 of the reviewed file `{review['sha256']}`.",
            "",
        ]
    lines += ["| filter | completions | left |", "|---|---:|---:|"]
    left = card["completions"]
    for reason, number in card["filters"].items():
        left -= number if reason != "kept" else 0
        lines.append(f"| {TITLES[reason]} | {number:,} | {left:,} |")
    lines += ["", "| domain | samples | avg rounds | avg tokens |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row['domain']} | {row['samples']:,} | {row['avg_rounds']} | {row['avg_tokens']:,} |"
        for row in card["table"]
    ]
    return "\n".join(lines) + "\n"
