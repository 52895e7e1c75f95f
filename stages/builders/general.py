"""The part of the data that needs no reasoning: writing, questions of fact, self-cognition, translation [V2 B.3.3]. From the tiny world, from rows of
a general SFT set (`rows=sft`), or from prompts that the judge answers, with a thought only where a task calls for one."""
from stages.builders.records import Records
from stages.config import CollectConfig
from stages.data.file_prompts import source_key
from stages.data.rows import Tally, rows_of
from stages.data.split import prompt_hash
from stages.judges import current_judge
from stages.prompts import PromptSource, apply_template, is_from_file, make_source
from stages.seeds import rng_for, seed_for
from stages.worker import InputError, Interrupted, Worker

BATCH = 256  # prompts answered between two looks at whether the stage should stop


def general_rows(worker: Worker, config: CollectConfig, source: PromptSource, records: Records, tokenizer, gather) -> list[dict]:
    """num_general rows {"prompt_id", "prompt", "completion", "kind", "language"}, the same on every rank; fewer where there are not more."""
    if not config.num_general:
        return []
    if config.general == "judge":
        return _answered(worker, config, source, records, tokenizer, gather)
    if is_from_file(config.data):
        return _from_files(worker, config, tokenizer)
    from stages.tiny_world.corpus import general_sft_pairs
    return [_row(prompt, completion, config, tokenizer) for prompt, completion in general_sft_pairs(config.num_general, worker.seed, worker.stage)]


def _row(prompt, completion: str, config: CollectConfig, tokenizer) -> dict:
    return {"prompt_id": prompt.id, "prompt": apply_template(prompt.text, config.data.template, tokenizer), "completion": completion, "kind": prompt.kind,
            "language": prompt.language}


def _from_files(worker: Worker, config: CollectConfig, tokenizer) -> list[dict]:
    """A draw of the rows of all sources with rows=sft. Rows whose prompt is held out for evaluation are left out, and counted."""
    rows, held_out = [], _held_out(config)
    for name, source in config.data.all_sources.items():
        if source.rows == "sft":
            tally, key = Tally(), source_key(config.data, name)
            rows += [(name, item) for item in rows_of(source, key) if tally.add(item)]
            tally.check(key, source.path, config.data.malformed)
            worker.say(f"{key}: {tally.summary()}" if tally.summary() else f"{key}: {tally.num_rows} rows")
    allowed = [(name, row) for name, row in rows if prompt_hash(row.prompt) not in held_out]
    if not allowed:
        raise InputError(f"stages.{worker.stage}.num_general={config.num_general}, but no source with rows=sft has a row that may be trained on")
    worker.metrics["data/general_held_out"] = len(rows) - len(allowed)
    rng_for(worker.seed, worker.stage, "general").shuffle(allowed)
    return [{"prompt_id": f"{name}-{row.id or f'{row.number:06d}'}", "prompt": apply_template(row.prompt, config.data.template, tokenizer),
             "completion": row.completion, "kind": row.kind or name, "language": row.language} for name, row in allowed[:config.num_general]]


def _held_out(config: CollectConfig) -> set[int]:
    """Hashes of the prompts that `evaluate` asks; none where only completions come from outside."""
    if not any(source.rows == "prompts" for source in config.data.all_sources.values()) or config.data.eval_fraction == 0:
        return set()
    source = make_source(config.data, seed=0, stream="evaluate", split="test")
    return {prompt_hash(prompt.text) for domain in ("reasoning", "helpful", "safety") for prompts in source.prompts(domain).values() for prompt in prompts}


def _answered(worker: Worker, config: CollectConfig, source: PromptSource, records: Records, tokenizer, gather) -> list[dict]:
    """Helpful prompts answered by the judge, each a record when it is answered; what it cannot answer is left out."""
    for first in range(0, config.num_general, BATCH * worker.world_size):
        places = range(first, min(first + BATCH * worker.world_size, config.num_general))
        mine = [place for place in places[worker.rank::worker.world_size] if place not in records]
        prompts = [source.get(place, "helpful") for place in mine]
        answers = current_judge().answer([(prompt, seed_for(worker.seed, worker.stage, "general", place)) for place, prompt in zip(mine, prompts)]) \
            if mine else []
        for place, prompt, answer in zip(mine, prompts, answers):
            records.append({"index": place, "row": answer and _row(prompt, answer, config, tokenizer)})
        records.add(gather([records.rows[place] for place in mine]))
        worker.progress("answer", places[-1] + 1, config.num_general, f"{places[-1] + 1} of {config.num_general} general prompts")
        if places[-1] + 1 < config.num_general and worker.should_stop():
            raise Interrupted(f"stopped after {places[-1] + 1} of {config.num_general} general prompts; run the same command to continue")
    return [row for place in range(config.num_general) if (row := records.rows[place]["row"])]
