"""SFT on prompt-completion pairs, loss on the completion only [V2 B.4.2].

Cold start and rejection SFT (both from the base), and distillation.
"""

import math
from pathlib import Path

from stages.config import SftConfig
from stages.engines.export import export
from stages.engines.loading import load_policy
from stages.engines.training import TrainEngine
from stages.modeling.adapters import add_adapters
from stages.modeling.batching import pad_id
from stages.modeling.model import load_tokenizer
from stages.modeling.ready import ready_policy
from stages.prompting.encoding import Encoder
from stages.runtime.errors import InputError, user_errors
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker
from stages.training.alarms import report_once
from stages.training.beginnings import of_sft
from stages.training.epochs import epoch_indices
from stages.training.supervised import TrainingRow, train_supervised
from stages.training.traces import file_traces, recipe_traces, tokenized


def run(worker: Worker) -> None:
    """Runs a stage of this kind to its end: trains the policy on its data and exports it to model/."""
    config: SftConfig = worker.config
    tokenizer = load_tokenizer(worker.model_dir("policy"))
    encoder = Encoder.of(config, tokenizer)
    rows, num_too_long = read_rows(worker, config, encoder)
    num_steps = math.ceil(config.num_epochs * len(rows) / config.batch_size)
    if config.max_steps:
        num_steps = min(num_steps, config.max_steps)
    worker.say(
        f"{len(rows)} samples ({num_too_long} longer than {config.max_tokens} tokens left out), "
        f"{num_steps} steps of {config.batch_size}"
    )
    targets = [sum(weight > 0 for weight in row.weights) for row in rows]
    report_once(worker, of_sft(worker.stage, config, targets, num_too_long, num_steps))
    model = load_policy(worker.model_dir("policy"), config.deepspeed, config.lora.quantize)
    policy = ready_policy(
        model,
        tokenizer,
        config.packing,
        config.deepspeed.precision,
        worker.say,
        config.dropout,
        config.deepspeed.sequence_parallel,
    )
    if config.lora.is_on:
        seed = seed_for(worker.seed, worker.stage, "lora")
        policy.adapters = add_adapters(policy.model, config.lora, seed, worker.say, packed=policy.packed)
    engine = TrainEngine(policy, config.optim, config.deepspeed, num_steps)

    def batch_at(number: int) -> list[TrainingRow]:
        start = number * config.batch_size
        return [rows[i] for i in epoch_indices(len(rows), start, config.batch_size, worker.seed, worker.stage)]

    train_supervised(worker, engine, batch_at, num_steps, config, pad_id(tokenizer))
    worker.metrics |= {"data/samples": len(rows), "data/too_long": num_too_long, "train/steps": num_steps}
    export(worker, engine, tokenizer, encoder.template)


def read_rows(worker: Worker, config: SftConfig, encoder: Encoder) -> tuple[list[TrainingRow], int]:
    """Reads and tokenises the traces that the stage learns from.

    Returns:
        The rows of at most `max_tokens` tokens, and how many were longer.

    Raises:
        InputError: the file has rows that cannot be used, no row is short enough, or no completion has a word.
    """
    with user_errors():
        if config.traces.path:
            path = config.traces.path
            traces, left_out = file_traces(config.traces)
        else:
            path = str(worker.input_dir("data") / "data" / "train.parquet")
            traces, left_out = recipe_traces(Path(path)), ""
        everything = [to_row(*ids) for ids in tokenized(traces, encoder)]
    rows = [row for row in everything if len(row.token_ids) <= config.max_tokens]
    num_too_long = len(everything) - len(rows)
    if left_out:
        worker.say(f"{path}: {left_out}")
    if rows and all(sum(weight > 0 for weight in row.weights) <= 1 for row in rows):
        raise InputError(
            f"{path}: every completion is empty, so there is nothing to learn: name the right column with "
            f"stages.{worker.stage}.traces.completion_column"
        )
    if not rows:
        raise InputError(
            f"{path} holds no sample of at most {config.max_tokens} tokens ({num_too_long} are longer): "
            f"raise stages.{worker.stage}.max_tokens or keep more completions in the stage that builds the data"
        )
    return rows, num_too_long


def to_row(prompt_ids: list[int], target_ids: list[int]) -> TrainingRow:
    """A row to train on: prompt tokens weigh 0, those of the completion and its end weigh 1."""
    return TrainingRow(prompt_ids + target_ids, [0.0] * len(prompt_ids) + [1.0] * len(target_ids))
