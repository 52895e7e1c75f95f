"""The two reward models of the last RL stage [N]: helpful (pairs, sees only the summary) and safety (point-wise, sees everything).

Both are the rejection-SFT model with a scalar head. Pairs: completions of the policy judged 4 times in random positions, the average
gap above a limit. The tiny world's judge is deterministic code.
"""
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from stages import files
from stages.batching import micro_batches, pad_rows
from stages.checkpoint import resume, save_checkpoint
from stages.config import RewardModelsConfig
from stages.engine import TrainEngine, init_distributed
from stages.experience import Rollout, gather
from stages.health import Watch
from stages.model import load_tokenizer
from stages.inputs import open_prompts
from stages.prompts import apply_template, encode_prompt
from stages.rewards.format import summary_of
from stages.rollout import make_sampler
from stages.sampling import text_of
from stages.seeds import rng_for, seed_for
from stages.sft import epoch_indices, pad_id
from stages.tiny_world.judge import compare, judge
from stages.worker import InputError, Interrupted, Worker, barrier, control_group


@dataclass
class Pair:
    """Token rows of a judged pair: prompt + summary."""
    chosen: list[int]
    rejected: list[int]
    is_holdout: bool


@dataclass
class Labelled:
    """Token row of prompt + whole completion, and whether the judge calls it safe."""
    token_ids: list[int]
    is_safe: bool
    is_holdout: bool


def run(worker: Worker) -> None:
    config: RewardModelsConfig = worker.config
    init_distributed()
    tokenizer = load_tokenizer(worker.model_dir("policy"))
    pairs, labelled = collect(worker, config, tokenizer)
    helpful_steps = config.num_steps or math.ceil(len([p for p in pairs if not p.is_holdout]) / config.batch_size)
    safety_steps = config.safety_steps or math.ceil(len([x for x in labelled if not x.is_holdout]) / config.batch_size)
    train_helpful(worker, config, tokenizer, pairs, helpful_steps, safety_steps)
    train_safety(worker, config, tokenizer, labelled, helpful_steps, safety_steps)


# ------------------------------------------------------------------------------------------------------------------- the data


def collect(worker: Worker, config: RewardModelsConfig, tokenizer) -> tuple[list[Pair], list[Labelled]]:
    """Sampled, judged and kept in data/judged.json; an attempt that finds the file does not sample again."""
    path = worker.dir / "data" / "judged.json"
    if not path.exists():
        sampler = make_sampler(config.rollout, worker.model_dir("policy"), config.data.max_prompt_tokens, config.max_completion_tokens)
        worker.startup_done()
        helpful = sample(worker, config, tokenizer, sampler, "helpful", config.num_prompts, config.samples_per_prompt, config.rollout.temperature)
        safety = sample(worker, config, tokenizer, sampler, "safety_labels", config.num_safety_prompts, config.safety_samples_per_prompt,
                        config.safety_temperature)
        sampler.close()
        worker.count_tokens("judged", sampled=sum(len(r.completion_ids) for r in [*helpful, *safety]))
        if worker.is_main:
            files.write_json(path, {"pairs": [vars(p) for p in judged_pairs(worker, config, tokenizer, helpful)],
                                    "labelled": [vars(x) for x in labels(worker, config, tokenizer, safety)]})
        barrier()
    else:
        worker.startup_done()
    data = files.read_json(path)
    pairs, labelled = [Pair(**row) for row in data["pairs"]], [Labelled(**row) for row in data["labelled"]]
    classes = {x.is_safe for x in labelled if not x.is_holdout}
    if not any(not p.is_holdout for p in pairs) or len(classes) < 2:
        raise InputError(f"{len(pairs)} judged pairs and safety classes {sorted(classes)} cannot train reward models: raise "
                         f"stages.{worker.stage}.num_prompts, num_safety_prompts or the sampling temperature")
    worker.say(f"{len(pairs)} judged pairs, {len(labelled)} safety labels ({sum(x.is_safe for x in labelled)} safe)")
    return pairs, labelled


def sample(worker: Worker, config: RewardModelsConfig, tokenizer, sampler, domain: str, num_prompts: int, n: int, temperature: float) -> list[Rollout]:
    """n completions of each prompt of a domain."""
    source = open_prompts(worker, config.data, tokenizer, worker.model_dir("policy"), config.max_completion_tokens)
    prompts = [source.get(i, domain) for i in range(num_prompts)]
    mine = list(enumerate(prompts))[worker.rank::worker.world_size]
    worker.progress("rollout", 0, 0, f"sampling {num_prompts} {domain} prompts")
    prompt_ids = [encode_prompt(apply_template(prompt.text, config.data.template, tokenizer), config.data.template, tokenizer) for _, prompt in mine]
    seeds = [seed_for(worker.seed, worker.stage, domain, place, prompt.id) for place, prompt in mine]
    groups = sampler.sample(prompt_ids, seeds, n, temperature, config.max_completion_tokens)
    rollouts = [Rollout(prompt, place, ids, c.token_ids, [], c.is_truncated, **text_of(ids, c.token_ids, tokenizer))
                for (place, prompt), ids, group in zip(mine, prompt_ids, groups) for c in group]
    return gather(rollouts, worker.world_size)


def is_holdout(worker: Worker, config: RewardModelsConfig, domain: str, group: int) -> bool:
    return rng_for(worker.seed, worker.stage, "holdout", domain, group).random() < config.holdout_fraction


def judged_pairs(worker: Worker, config: RewardModelsConfig, tokenizer, rollouts: list[Rollout]) -> list[Pair]:
    """Distinct completions of a prompt compared `judgments` times with random positions; kept where the mean gap exceeds min_gap [N]."""
    pairs = []
    for group in range(config.num_prompts):
        members = list({r.completion: r for r in rollouts if r.group == group}.values())
        candidates = [(a, b) for i, a in enumerate(members) for b in members[i + 1:]]
        rng_for(worker.seed, worker.stage, "pairs", group).shuffle(candidates)
        kept = 0
        for a, b in candidates:
            gap = mean_verdict(a, b, config.judgments, rng_for(worker.seed, worker.stage, "judge", group, a.completion, b.completion))
            if abs(gap) > config.min_gap and kept < config.pairs_per_prompt:
                chosen, rejected = (a, b) if gap > 0 else (b, a)
                pairs.append(Pair(row_of(chosen, summary_of(chosen.completion), tokenizer), row_of(rejected, summary_of(rejected.completion), tokenizer),
                                  is_holdout(worker, config, "helpful", group)))
                kept += 1
    return pairs


def mean_verdict(a: Rollout, b: Rollout, judgments: int, rng) -> float:
    """Average of 5-way verdicts (-2 .. 2, positive: a is better), each with the two in random order."""
    total = 0.0
    for _ in range(judgments):
        total += compare(a.prompt, a.completion, b.completion, rng) if rng.random() < 0.5 else -compare(a.prompt, b.completion, a.completion, rng)
    return total / judgments


def labels(worker: Worker, config: RewardModelsConfig, tokenizer, rollouts: list[Rollout]) -> list[Labelled]:
    return [Labelled(row_of(r, r.sampled_text, tokenizer), judge(r.prompt, r.completion).is_safe, is_holdout(worker, config, "safety", r.group))
            for r in rollouts]


def row_of(rollout: Rollout, text: str, tokenizer) -> list[int]:
    return rollout.prompt_ids + tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]


# --------------------------------------------------------------------------------------------------------------- the training


class ScalarModel(nn.Module):
    """An HF sequence classifier with one output, wrapped so that DeepSpeed names its parameters as elsewhere."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """[B, T] rows ending in end-of-sequence, padded on the right -> [B] rewards, read at the last real token."""
        return self.model(input_ids=input_ids, use_cache=False).logits[:, 0].float()


def load_reward_model(directory: Path, pad: int | None = None) -> nn.Module:
    from transformers import AutoModelForSequenceClassification
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=1, use_safetensors=True, dtype=torch.float32)
    if pad is not None:
        model.config.pad_token_id = pad
    return model


def train_helpful(worker: Worker, config: RewardModelsConfig, tokenizer, pairs: list[Pair], num_steps: int, later_steps: int) -> None:
    """Bradley-Terry: -log sigmoid(r_chosen - r_rejected), plus reward_l2 times the squared rewards."""
    train, held = [p for p in pairs if not p.is_holdout], [p for p in pairs if p.is_holdout]
    rows = [row for p in train for row in (p.chosen, p.rejected)]

    def batch_at(step: int) -> list[int]:
        return epoch_indices(len(train), step * config.batch_size, config.batch_size, worker.seed, worker.stage, "helpful")

    def loss_of(rewards: torch.Tensor, indices: list[int], size: int) -> torch.Tensor:
        chosen, rejected = rewards[0::2], rewards[1::2]
        return (-F.logsigmoid(chosen - rejected).sum() + config.reward_l2 * (rewards ** 2).sum() / 2) / size

    def finish(engine: TrainEngine) -> None:
        scores = torch.tensor(reward_scores(engine, [row for p in held for row in (p.chosen, p.rejected)], tokenizer, config.micro_batch_tokens))
        known = torch.tensor(reward_scores(engine, rows, tokenizer, config.micro_batch_tokens))
        worker.metrics |= {"helpful/pairs": len(train), "helpful/holdout_pairs": len(held), "helpful/train_accuracy": fraction(known[0::2] > known[1::2]),
                           "helpful/holdout_accuracy": fraction(scores[0::2] > scores[1::2])}
        if worker.is_main:
            files.write_json(worker.dir / "model" / "helpful" / "reward_stats.json", {"mean": known.mean().item(), "std": known.std().item() + 1e-6})

    fit(worker, config, tokenizer, "helpful", rows, 2, batch_at, loss_of, num_steps, 0, num_steps + later_steps, finish)


def train_safety(worker: Worker, config: RewardModelsConfig, tokenizer, labelled: list[Labelled], earlier_steps: int, num_steps: int) -> None:
    """Point-wise: binary cross-entropy on safe or unsafe; each batch holds as many of both."""
    train, held = [x for x in labelled if not x.is_holdout], [x for x in labelled if x.is_holdout]
    classes = [[i for i, x in enumerate(train) if x.is_safe == is_safe] for is_safe in (True, False)]

    def batch_at(step: int) -> list[int]:
        half = config.batch_size // 2
        return [members[i] for members, name in zip(classes, ("safe", "unsafe"))
                for i in epoch_indices(len(members), step * half, half, worker.seed, worker.stage, name)]

    def loss_of(rewards: torch.Tensor, indices: list[int], size: int) -> torch.Tensor:
        targets = torch.tensor([float(train[i].is_safe) for i in indices], device=rewards.device)
        return F.binary_cross_entropy_with_logits(rewards, targets, reduction="sum") / size

    def finish(engine: TrainEngine) -> None:
        scores = torch.tensor(reward_scores(engine, [x.token_ids for x in held], tokenizer, config.micro_batch_tokens))
        truth = torch.tensor([x.is_safe for x in held])
        worker.metrics |= {"safety/labels": len(train), "safety/holdout_labels": len(held), "safety/holdout_accuracy": fraction((scores > 0) == truth),
                           "safety/holdout_unsafe_recall": fraction(scores[~truth] < 0)}

    fit(worker, config, tokenizer, "safety", [x.token_ids for x in train], 1, batch_at, loss_of, num_steps, earlier_steps,
        earlier_steps + num_steps, finish)


def fit(worker: Worker, config: RewardModelsConfig, tokenizer, name: str, rows: list[list[int]], rows_per_item: int, batch_at: Callable,
        loss_of: Callable, num_steps: int, first_step: int, total_steps: int, finish: Callable[[TrainEngine], None]) -> None:
    """Trains one scalar model on items of `rows_per_item` consecutive rows and exports it to model/<name>."""
    done = worker.dir / "state" / f"{name}_done.json"
    if done.exists():  # an earlier attempt was killed while training the other model
        worker.metrics |= files.read_json(done)
        return
    torch.manual_seed(seed_for(worker.seed, worker.stage, name, "head"))
    engine = TrainEngine(ScalarModel(load_reward_model(worker.model_dir("policy"), pad_id(tokenizer))), config.optim, config.deepspeed, num_steps)
    step = resume(worker, engine, f"state/{name}", first_step)["step"]
    watch = Watch(worker, config.health)
    while step < num_steps:
        torch.manual_seed(seed_for(worker.seed, worker.stage, name, step, worker.rank))
        batch = batch_at(step)
        engine.train()
        loss_sum = torch.zeros(1)
        lengths = [sum(len(rows[i * rows_per_item + k]) for k in range(rows_per_item)) for i in batch]
        for places in micro_batches(lengths, worker.world_size, worker.rank, config.micro_batch_tokens):
            indices = [batch[place] for place in places]
            input_ids = pad_rows([rows[i * rows_per_item + k] for i in indices for k in range(rows_per_item)], pad_id(tokenizer), engine.device)
            rewards = engine(input_ids)
            loss = loss_of(rewards, indices, len(batch)) if indices else rewards.sum() * 0.0
            engine.backward(loss)
            loss_sum += loss.detach().cpu()
        grad_norm, lr = engine.step(step)
        step += 1
        if worker.world_size > 1:
            dist.all_reduce(loss_sum, group=control_group())
        metrics = {f"{name}/loss": loss_sum.item(), "train/grad_norm": grad_norm, "train/lr": lr, "tokens/trained": sum(lengths)}
        worker.log_step(first_step + step, metrics)
        watch(first_step + step, metrics)
        worker.progress(f"train {name}", first_step + step, total_steps, f"{name} loss {loss_sum.item():.3f}")
        should_stop = worker.should_stop()
        if step < num_steps and (should_stop or step % config.save_every == 0):
            save_checkpoint(worker, engine, step, config.keep_checkpoints, f"state/{name}")
        if step < num_steps and should_stop:
            raise Interrupted(f"stopped after step {step} of {num_steps} of the {name} model; run the same command to continue")
    engine.eval()
    finish(engine)
    engine.export(tokenizer, worker.dir / "model" / name)
    if worker.is_main:
        files.write_json(done, {key: value for key, value in worker.metrics.items() if key.startswith(name)})
    worker.say(f"{name}: {[f'{k} {v:.3f}' for k, v in worker.metrics.items() if k.startswith(name)]}")


@torch.no_grad()
def reward_scores(model, rows: list[list[int]], tokenizer, micro_batch_tokens: int) -> list[float]:
    """Rewards of token rows, in order, computed in length-sorted batches. `model`: a ScalarModel's engine or an HF classifier."""
    scores = [0.0] * len(rows)
    device = getattr(model, "device", torch.device("cpu"))
    for indices in micro_batches([len(row) for row in rows], 1, 0, micro_batch_tokens) if rows else []:
        output = model(pad_rows([rows[i] for i in indices], pad_id(tokenizer), device))
        values = output if isinstance(output, torch.Tensor) else output.logits[:, 0]
        for i, value in zip(indices, values.float().tolist()):
            scores[i] = value
    return scores


def fraction(flags: torch.Tensor) -> float:
    return flags.float().mean().item() if len(flags) else float("nan")
