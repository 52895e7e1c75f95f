"""The general part of the SFT data: writing, questions of fact, self-cognition, translation [V2 B.3.3].

It comes from the tiny world or the English one, from rows of a general SFT set (`rows=sft`), or from prompts that the
judge answers, with a thought only where the task calls for one.
"""

from stages.config import CollectConfig
from stages.contract.indexed_records import IndexedRecords
from stages.data.pairs import general_pairs
from stages.data.prompt_sources import is_from_file
from stages.judges import current_judge
from stages.prompting.encoding import Encoder
from stages.prompting.prompt import Prompt, PromptSource
from stages.runtime.errors import Interrupted
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker
from stages.worlds.english import sources as english

BATCH = 256  # prompts that a rank has answered before it looks whether the stage should stop


def general_rows(
    worker: Worker, config: CollectConfig, source: PromptSource, records: IndexedRecords, encoder: Encoder, gather
) -> list[dict]:
    """Makes the general rows of a stage, the same on every rank.

    Args:
        worker: The stage's worker.
        config: The stage's configuration; `num_general` rows are wanted.
        source: The prompts that the judge answers, where it is asked (`general=judge`).
        records: The rows that earlier attempts have on the disk.
        encoder: Of the policy's prompts.
        gather: Joins the lists of all ranks.

    Returns:
        Rows {"prompt_id", "prompt", "completion", "kind", "language", "text"}; prompts without an answer are left out.
    """
    if not config.num_general:
        return []
    if config.general == "judge":
        return _answered(worker, config, source, records, encoder, gather)
    if config.data.general == "english":
        pairs = english.general_pairs(config.num_general, worker.seed, worker.stage)
    elif is_from_file(config.data):
        pairs = general_pairs(config.data, config.num_general, worker.seed, worker.stage)
    else:
        from stages.worlds.tiny_world.corpus import general_sft_pairs

        pairs = general_sft_pairs(config.num_general, worker.seed, worker.stage)
    return [_row(prompt, completion, encoder) for prompt, completion in pairs]


def _row(prompt: Prompt, completion: str, encoder: Encoder) -> dict:
    """A row of the training data."""
    return {
        "prompt_id": prompt.id,
        "prompt": encoder.text(prompt.text),
        "completion": completion,
        "kind": prompt.kind,
        "language": prompt.language,
        "text": prompt.text,
    }


def _answered(
    worker: Worker, config: CollectConfig, source: PromptSource, records: IndexedRecords, encoder: Encoder, gather
) -> list[dict]:
    """Has the judge answer helpful prompts; each answer is on the disk before the next batch is asked."""
    for first in range(0, config.num_general, BATCH * worker.world_size):
        places = range(first, min(first + BATCH * worker.world_size, config.num_general))
        mine = [place for place in places[worker.rank :: worker.world_size] if place not in records]
        prompts = [source.get(place, "helpful") for place in mine]
        seeds = [seed_for(worker.seed, worker.stage, "general", place) for place in mine]
        answers = current_judge().answer(list(zip(prompts, seeds))) if mine else []
        for place, prompt, answer in zip(mine, prompts, answers):
            records.append({"index": place, "row": answer and _row(prompt, answer, encoder)})
        records.add(gather([records.rows[place] for place in mine]))
        worker.progress(
            "answer", places[-1] + 1, config.num_general, f"{places[-1] + 1} of {config.num_general} general prompts"
        )
        if places[-1] + 1 < config.num_general and worker.should_stop():
            raise Interrupted(
                f"stopped after {places[-1] + 1} of {config.num_general} general prompts; "
                "run the same command to continue"
            )
    return [row for place in range(config.num_general) if (row := records.rows[place]["row"])]
