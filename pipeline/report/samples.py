"""Sample completions: every model on the same held-out prompts, and the first and last samples of each RL stage."""

import json
import re
from html import escape

from markupsafe import Markup

from pipeline.report.names import stage_name, stage_order
from pipeline.report.read import StageRecord

MAX_SHOWN_CHARACTERS = 4000
TAGS = re.compile(r"&lt;/?(?:think|answer)&gt;")


def completion_html(text: object) -> Markup:
    """The text, escaped, cut at a length that a reader can take, with the think and answer tags set apart."""
    text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    num_cut = len(text) - MAX_SHOWN_CHARACTERS
    shown = TAGS.sub(lambda found: f'<span class="tag">{found.group()}</span>', escape(text[:MAX_SHOWN_CHARACTERS]))
    return Markup(shown + (f'<span class="cut">… {num_cut:,} more characters</span>' if num_cut > 0 else ""))


def same_prompts(rows: list[dict]) -> list[dict]:
    """The evaluation's samples by prompt, models in the recipe's order.

    Returns:
        [{"set", "prompt", "answer", "completions": [{"model", "stage", "html", "is_correct"}]}].
    """
    prompts: dict[tuple, dict] = {}
    for row in rows:
        key = (str(row.get("set", "")), str(row.get("prompt_id", row.get("prompt"))))
        entry = prompts.setdefault(
            key, {"set": key[0], "prompt": row.get("prompt", ""), "answer": row.get("answer"), "completions": []}
        )
        entry["completions"].append(
            {
                "model": str(row.get("model", "")),
                "stage": stage_name(str(row.get("model", ""))),
                "html": completion_html(row.get("completion", "")),
                "is_correct": row.get("correct"),
            }
        )
    for entry in prompts.values():
        entry["completions"].sort(key=lambda completion: stage_order(completion["model"]))
    return list(prompts.values())


def training_samples(stage: StageRecord) -> list[dict]:
    """The samples of an RL stage that `read` has kept, the first and the last, with their rewards."""
    return [
        {
            "step": row.get("step"),
            "prompt": row.get("prompt", ""),
            "answer": row.get("answer"),
            "html": completion_html(row.get("completion", "")),
            "reward": row.get("reward"),
            "advantage": row.get("advantage"),
            "is_truncated": row.get("truncated") is True,
            "parts": row["reward_parts"] if isinstance(row.get("reward_parts"), dict) else {},
        }
        for row in stage.samples
    ]
