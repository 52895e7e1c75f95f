"""SFT on prompt-completion pairs, loss on the completion only [V2 B.4.2]: cold start, rejection SFT (both from the
base) and distillation.
"""

import math

from stages.config import SftConfig
from stages.engines.export import export
from stages.engines.training import TrainEngine
from stages.modeling.attention import uses_packing
from stages.modeling.batching import pad_id
from stages.modeling.model import load_model, load_tokenizer
from stages.modeling.policy_model import PolicyModel
from stages.prompting.templates import encode_prompt
from stages.runtime.errors import InputError, user_errors
from stages.runtime.worker import Worker
from stages.training.epochs import epoch_indices
from stages.training.supervised import Sample, train_supervised
from stages.training.traces import file_traces, prompt_and_completion, recipe_traces


def run(worker: Worker) -> None:
    config: SftConfig = worker.config
    tokenizer = load_tokenizer(worker.model_dir("policy"))
    samples, num_too_long = read_samples(worker, config, tokenizer)
    num_steps = math.ceil(config.num_epochs * len(samples) / config.batch_size)
    if config.max_steps:
        num_steps = min(num_steps, config.max_steps)
    worker.say(
        f"{len(samples)} samples ({num_too_long} longer than {config.max_tokens} tokens left out), "
        f"{num_steps} steps of {config.batch_size}"
    )
    model = load_model(worker.model_dir("policy"), config.deepspeed.precision)
    packed = uses_packing(config.packing, model, config.deepspeed.precision)
    engine = TrainEngine(PolicyModel(model, packed), config.optim, config.deepspeed, num_steps)

    def batch_at(step: int) -> list[Sample]:
        return [
            samples[i]
            for i in epoch_indices(len(samples), step * config.batch_size, config.batch_size, worker.seed, worker.stage)
        ]

    train_supervised(worker, engine, batch_at, num_steps, config, pad_id(tokenizer))
    worker.metrics |= {"data/samples": len(samples), "data/too_long": num_too_long, "train/steps": num_steps}
    export(worker, engine, tokenizer, config.template)


def read_samples(worker: Worker, config: SftConfig, tokenizer) -> tuple[list[Sample], int]:
    """The samples, tokenised; those over max_tokens are left out and counted. Raises InputError for rows that cannot be
    used.
    """
    with user_errors():
        path = config.traces.path or worker.input_dir("data") / "data" / "train.parquet"
        traces, left_out = file_traces(config.traces) if config.traces.path else (recipe_traces(path), "")
        everything = [
            to_sample(*prompt_and_completion(trace, config.template, tokenizer), tokenizer, config.template)
            for trace in traces
        ]
    samples = [sample for sample in everything if len(sample.token_ids) <= config.max_tokens]
    num_too_long = len(everything) - len(samples)
    if left_out:
        worker.say(f"{path}: {left_out}")
    if not samples:
        raise InputError(
            f"{path} holds no sample of at most {config.max_tokens} tokens ({num_too_long} are longer): "
            f"raise stages.{worker.stage}.max_tokens or keep more completions in the stage that builds the data"
        )
    return samples, num_too_long


def to_sample(prompt: str, completion: str, tokenizer, template: str = "plain") -> Sample:
    """Prompt tokens weigh 0, completion tokens and the final end-of-sequence 1."""
    prompt_ids = encode_prompt(prompt, template, tokenizer)
    completion_ids = tokenizer(completion, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return Sample(prompt_ids + completion_ids, [0.0] * len(prompt_ids) + [1.0] * len(completion_ids))
