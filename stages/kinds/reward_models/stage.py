"""The two reward models of the last RL stage: helpful and safety [N].

The helpful one learns from pairs and sees only the summary; the safety one learns point by point and sees the whole
completion. Both are the rejection-SFT model with a scalar head. A domain without data has no model.
"""

import math

from stages.config import RewardModelsConfig
from stages.engines.training import init_distributed
from stages.kinds.reward_models.data import collect
from stages.kinds.reward_models.objectives import HelpfulObjective, SafetyObjective
from stages.kinds.reward_models.training import Schedule, train
from stages.modeling.model import load_tokenizer
from stages.runtime.worker import Worker


def run(worker: Worker) -> None:
    """Runs a stage of this kind to its end: gathers the data, and trains and exports each model that has some."""
    config: RewardModelsConfig = worker.config
    init_distributed()
    tokenizer = load_tokenizer(worker.model_dir("policy"))
    pairs, labelled = collect(worker, config, tokenizer)
    helpful_steps = safety_steps = 0
    if pairs:
        helpful_steps = config.num_steps or one_epoch(pairs, config.batch_size)
    if labelled:
        safety_steps = config.safety_steps or one_epoch(labelled, config.batch_size)
    total_steps = helpful_steps + safety_steps
    if pairs:
        helpful = HelpfulObjective(worker, config, pairs)
        train(worker, config, tokenizer, helpful, Schedule(helpful_steps, 0, total_steps))
    if labelled:
        safety = SafetyObjective(worker, config, labelled)
        train(worker, config, tokenizer, safety, Schedule(safety_steps, helpful_steps, total_steps))


def one_epoch(items: list, batch_size: int) -> int:
    """The optimizer steps that see each of the items that are not held out once."""
    return math.ceil(sum(not item.is_holdout for item in items) / batch_size)
