"""The two reward models of the last RL stage [N]: helpful (pairs, sees only the summary) and safety (point-wise, sees
everything).

Both are the rejection-SFT model with a scalar head, trained on what `builders/preferences.py` gathers: judged pairs and
labels. A domain without data has no model.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F

from stages import judges
from stages.config import RewardModelsConfig
from stages.contract import files
from stages.engines.checkpoint import resume
from stages.engines.saver import Saver
from stages.engines.training import TrainEngine, init_distributed
from stages.judges import require_judge
from stages.kinds.reward_models.preferences import Completions, Label, Preference, labels, preferences
from stages.modeling.batching import micro_batches, pad_id, pad_rows
from stages.modeling.model import load_tokenizer
from stages.modeling.reward_model import ScalarModel, load_reward_model, reward_scores
from stages.prompting.templates import apply_template, encode_prompt, text_of
from stages.runtime.distributed import barrier, control_group
from stages.runtime.errors import InputError
from stages.runtime.seeds import rng_for, seed_for
from stages.runtime.worker import Worker
from stages.text.completion import without_opening
from stages.training.epochs import epoch_indices
from stages.training.health import Watch


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
    helpful_steps = (
        (config.num_steps or math.ceil(len([p for p in pairs if not p.is_holdout]) / config.batch_size)) if pairs else 0
    )
    safety_steps = (
        (config.safety_steps or math.ceil(len([x for x in labelled if not x.is_holdout]) / config.batch_size))
        if labelled
        else 0
    )
    if pairs:
        train_helpful(worker, config, tokenizer, pairs, helpful_steps, safety_steps)
    if labelled:
        train_safety(worker, config, tokenizer, labelled, helpful_steps, safety_steps)


def collect(worker: Worker, config: RewardModelsConfig, tokenizer) -> tuple[list[Pair], list[Labelled]]:
    """Gathered, judged and kept in data/judged.json; an attempt that finds the file asks for nothing again."""
    path = worker.dir / "data" / "judged.json"
    if not path.exists():
        completions = Completions(worker, config, tokenizer)
        for domain, rows in (("helpful", "preferences"), ("safety", "labels")):
            if (config.data.name == "tiny_world" or domain in config.data.domains) and not config.data.has(rows):
                require_judge(
                    completions.source.get(0, domain)
                )  # one that cannot be asked is found here, before any engine starts
        worker.startup_done()
        judged = Tokenized(worker, config, tokenizer)
        pairs, labelled = (
            judged.pairs(preferences(worker, config, completions)),
            judged.labelled(labels(worker, config, completions)),
        )
        completions.close()
        judges.rest()
        if worker.is_main:
            files.write_json(
                path,
                {"pairs": [vars(p) for p in pairs], "labelled": [vars(x) for x in labelled], "metrics": worker.metrics},
            )
        barrier()
    else:
        worker.startup_done()
    data = files.read_json(path)
    worker.metrics |= data["metrics"]
    pairs, labelled = [Pair(**row) for row in data["pairs"]], [Labelled(**row) for row in data["labelled"]]
    check(worker, config, pairs, labelled)
    worker.say(
        f"{len(pairs)} judged pairs, {len(labelled)} safety labels ({sum(x.is_safe for x in labelled)} safe); "
        "a chosen summary is the longer one: "
        f"correlation {worker.metrics.get('helpful/length_correlation', 0.0):.2f}"
    )
    return pairs, labelled


def check(worker: Worker, config: RewardModelsConfig, pairs: list[Pair], labelled: list[Labelled]) -> None:
    """Raises InputError where a model that the data promises cannot be trained."""
    is_tiny, data = config.data.name == "tiny_world", config.data
    wants_pairs, wants_labels = (
        is_tiny or data.has(rows) or domain in data.domains
        for rows, domain in (("preferences", "helpful"), ("labels", "safety"))
    )
    classes = {x.is_safe for x in labelled if not x.is_holdout}
    if (
        (wants_pairs and not any(not p.is_holdout for p in pairs))
        or (wants_labels and len(classes) < 2)
        or not (pairs or labelled)
    ):
        raise InputError(
            f"{len(pairs)} judged pairs and safety classes {sorted(classes)} cannot train reward models "
            f"({worker.metrics}): raise "
            f"stages.{worker.stage}.num_prompts, num_safety_prompts or the sampling temperature, "
            "or give sources with helpful and safety "
            "prompts, rows=preferences or rows=labels"
        )


class Tokenized:
    """Texts as token rows: prompt, text, end of sequence. Rows that are longer than prompts and completions may be are
    left out, and counted.
    """

    def __init__(self, worker: Worker, config: RewardModelsConfig, tokenizer):
        self.worker, self.config, self.tokenizer = worker, config, tokenizer
        self.max_tokens = config.data.max_prompt_tokens + config.max_completion_tokens + 1

    def pairs(self, preferences: list[Preference]) -> list[Pair]:
        rows = [
            Pair(self._row(p.prompt, p.chosen), self._row(p.prompt, p.rejected), self._is_holdout("helpful", p.prompt))
            for p in preferences
        ]
        kept = [pair for pair in rows if max(len(pair.chosen), len(pair.rejected)) <= self.max_tokens]
        self.worker.metrics["helpful/too_long"] = len(rows) - len(kept)
        return kept

    def labelled(self, labels: list[Label]) -> list[Labelled]:
        rows = [
            Labelled(self._row(x.prompt, x.completion, is_whole=True), x.is_safe, self._is_holdout("safety", x.prompt))
            for x in labels
        ]
        kept = [row for row in rows if len(row.token_ids) <= self.max_tokens]
        self.worker.metrics["safety/too_long"] = len(rows) - len(kept)
        return kept

    def _row(self, prompt: str, text: str, is_whole: bool = False) -> list[int]:
        """`is_whole`: the text is a whole completion, of which the template may have written the opening."""
        template = self.config.data.template
        ids = encode_prompt(apply_template(prompt, template, self.tokenizer), template, self.tokenizer)
        text = without_opening(text, text_of(ids, [], self.tokenizer)["opening"]) if is_whole else text
        return ids + self.tokenizer(text, add_special_tokens=False)["input_ids"] + [self.tokenizer.eos_token_id]

    def _is_holdout(self, domain: str, prompt: str) -> bool:
        """The same prompt is always on the same side."""
        return (
            rng_for(self.worker.seed, self.worker.stage, "holdout", domain, prompt).random()
            < self.config.holdout_fraction
        )


def train_helpful(
    worker: Worker, config: RewardModelsConfig, tokenizer, pairs: list[Pair], num_steps: int, later_steps: int
) -> None:
    """Bradley-Terry: -log sigmoid(r_chosen - r_rejected), plus reward_l2 times the squared rewards."""
    train, held = [p for p in pairs if not p.is_holdout], [p for p in pairs if p.is_holdout]
    rows = [row for p in train for row in (p.chosen, p.rejected)]

    def batch_at(step: int) -> list[int]:
        return epoch_indices(
            len(train), step * config.batch_size, config.batch_size, worker.seed, worker.stage, "helpful"
        )

    def loss_of(rewards: torch.Tensor, indices: list[int], size: int) -> torch.Tensor:
        chosen, rejected = rewards[0::2], rewards[1::2]
        return (-F.logsigmoid(chosen - rejected).sum() + config.reward_l2 * (rewards**2).sum() / 2) / size

    def finish(engine: TrainEngine) -> None:
        scores = torch.tensor(
            reward_scores(
                engine, [row for p in held for row in (p.chosen, p.rejected)], tokenizer, config.micro_batch_tokens
            )
        )
        known = torch.tensor(reward_scores(engine, rows, tokenizer, config.micro_batch_tokens))
        worker.metrics |= {
            "helpful/pairs": len(train),
            "helpful/holdout_pairs": len(held),
            "helpful/train_accuracy": fraction(known[0::2] > known[1::2]),
            "helpful/holdout_accuracy": fraction(scores[0::2] > scores[1::2]),
            "helpful/reward_length_correlation": correlation(known.tolist(), [float(len(row)) for row in rows]),
        }
        if worker.is_main:
            files.write_json(
                worker.dir / "model" / "helpful" / "reward_stats.json",
                {"mean": known.mean().item(), "std": known.std().item() + 1e-6},
            )

    fit(worker, config, tokenizer, "helpful", rows, 2, batch_at, loss_of, num_steps, 0, num_steps + later_steps, finish)


def train_safety(
    worker: Worker, config: RewardModelsConfig, tokenizer, labelled: list[Labelled], earlier_steps: int, num_steps: int
) -> None:
    """Point-wise: binary cross-entropy on safe or unsafe; each batch holds as many of both."""
    train, held = [x for x in labelled if not x.is_holdout], [x for x in labelled if x.is_holdout]
    classes = [[i for i, x in enumerate(train) if x.is_safe == is_safe] for is_safe in (True, False)]

    def batch_at(step: int) -> list[int]:
        half = config.batch_size // 2
        return [
            members[i]
            for members, name in zip(classes, ("safe", "unsafe"))
            for i in epoch_indices(len(members), step * half, half, worker.seed, worker.stage, name)
        ]

    def loss_of(rewards: torch.Tensor, indices: list[int], size: int) -> torch.Tensor:
        targets = torch.tensor([float(train[i].is_safe) for i in indices], device=rewards.device)
        return F.binary_cross_entropy_with_logits(rewards, targets, reduction="sum") / size

    def finish(engine: TrainEngine) -> None:
        scores = torch.tensor(reward_scores(engine, [x.token_ids for x in held], tokenizer, config.micro_batch_tokens))
        truth = torch.tensor([x.is_safe for x in held])
        worker.metrics |= {
            "safety/labels": len(train),
            "safety/holdout_labels": len(held),
            "safety/holdout_accuracy": fraction((scores > 0) == truth),
            "safety/holdout_unsafe_recall": fraction(scores[~truth] < 0),
        }

    fit(
        worker,
        config,
        tokenizer,
        "safety",
        [x.token_ids for x in train],
        1,
        batch_at,
        loss_of,
        num_steps,
        earlier_steps,
        earlier_steps + num_steps,
        finish,
    )


def fit(
    worker: Worker,
    config: RewardModelsConfig,
    tokenizer,
    name: str,
    rows: list[list[int]],
    rows_per_item: int,
    batch_at: Callable,
    loss_of: Callable,
    num_steps: int,
    first_step: int,
    total_steps: int,
    finish: Callable[[TrainEngine], None],
) -> None:
    """Trains one scalar model on items of `rows_per_item` consecutive rows and exports it to model/<name>."""
    done = worker.dir / "state" / f"{name}_done.json"
    if done.exists():  # an earlier attempt was killed while training the other model
        worker.metrics |= files.read_json(done)
        return
    torch.manual_seed(seed_for(worker.seed, worker.stage, name, "head"))
    engine = TrainEngine(
        ScalarModel(load_reward_model(worker.model_dir("policy"), pad_id(tokenizer))),
        config.optim,
        config.deepspeed,
        num_steps,
    )
    step = resume(worker, engine, f"state/{name}", first_step)["step"]
    saver = Saver(worker, engine, config, f"state/{name}")
    watch = Watch(worker, config.health, can_go_back=False)
    while step < num_steps:
        torch.manual_seed(seed_for(worker.seed, worker.stage, name, step, worker.rank))
        batch = batch_at(step)
        engine.train()
        loss_sum = torch.zeros(1)
        lengths = [sum(len(rows[i * rows_per_item + k]) for k in range(rows_per_item)) for i in batch]
        for places in micro_batches(lengths, worker.world_size, worker.rank, config.micro_batch_tokens):
            indices = [batch[place] for place in places]
            input_ids = pad_rows(
                [rows[i * rows_per_item + k] for i in indices for k in range(rows_per_item)],
                pad_id(tokenizer),
                engine.device,
            )
            rewards = engine(input_ids)
            loss = loss_of(rewards, indices, len(batch)) if indices else rewards.sum() * 0.0
            engine.backward(loss)
            loss_sum += loss.detach().cpu()
        grad_norm, lr = engine.step(step)
        step += 1
        if worker.world_size > 1:
            dist.all_reduce(loss_sum, group=control_group())
        metrics = {
            f"{name}/loss": loss_sum.item(),
            "train/grad_norm": grad_norm,
            "train/lr": lr,
            "tokens/trained": sum(lengths),
        }
        worker.log_step(first_step + step, metrics)
        watch(first_step + step, metrics)
        worker.progress(f"train {name}", first_step + step, total_steps, f"{name} loss {loss_sum.item():.3f}")
        saver.step_done(step, num_steps)
    saver.wait()
    engine.eval()
    finish(engine)
    engine.export(tokenizer, worker.dir / "model" / name)
    if worker.is_main:
        files.write_json(done, {key: value for key, value in worker.metrics.items() if key.startswith(name)})
    worker.say(f"{name}: {[f'{k} {v:.3f}' for k, v in worker.metrics.items() if k.startswith(name)]}")


def fraction(flags: torch.Tensor) -> float:
    return flags.float().mean().item() if len(flags) else float("nan")


def correlation(values: list[float], others: list[float]) -> float:
    """Pearson's; 0 where one of the two does not vary."""
    return statistics.correlation(values, others) if len(set(values)) > 1 and len(set(others)) > 1 else 0.0
