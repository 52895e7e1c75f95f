"""The data of the reward models as token rows: gathered and judged once, kept in data/judged.json, checked."""

from dataclasses import dataclass
from typing import Any

from stages import judges
from stages.config import RewardModelsConfig
from stages.contract import files
from stages.judges import require_judge
from stages.kinds.reward_models.completions import Completions
from stages.kinds.reward_models.labels import Label, labels
from stages.kinds.reward_models.preferences import Preference, preferences
from stages.prompting.encoding import Encoder
from stages.runtime.distributed import barrier
from stages.runtime.errors import InputError
from stages.runtime.seeds import rng_for
from stages.runtime.worker import Worker
from stages.text.completion import without_opening


@dataclass
class Pair:
    """Token rows of a judged pair: prompt + summary + end of sequence."""

    chosen: list[int]
    rejected: list[int]
    is_holdout: bool


@dataclass
class Labelled:
    """Token row of prompt + whole completion + end of sequence, and whether the judge calls it safe."""

    token_ids: list[int]
    is_safe: bool
    is_holdout: bool


def collect(worker: Worker, config: RewardModelsConfig, tokenizer: Any) -> tuple[list[Pair], list[Labelled]]:
    """Gathers what the models learn from. Collective.

    An attempt that finds data/judged.json asks no sampler and no judge again.

    Raises:
        InputError: a judge is needed and cannot be asked, or the data cannot train a model.
    """
    path = worker.dir / "data" / "judged.json"
    if not path.exists():
        _gather(worker, config, tokenizer)
        barrier()
    else:
        worker.startup_done()
    data = files.read_json(path)
    worker.metrics |= data["metrics"]
    pairs = [Pair(**row) for row in data["pairs"]]
    labelled = [Labelled(**row) for row in data["labelled"]]
    check(worker, config, pairs, labelled)
    worker.say(
        f"{len(pairs)} judged pairs, {len(labelled)} safety labels ({sum(x.is_safe for x in labelled)} safe); "
        "a chosen summary is the longer one: "
        f"correlation {worker.metrics.get('helpful/length_correlation', 0.0):.2f}"
    )
    return pairs, labelled


def _gather(worker: Worker, config: RewardModelsConfig, tokenizer: Any) -> None:
    """Samples and judges, or reads what sources have, and writes data/judged.json."""
    completions = Completions(worker, config, tokenizer)
    for domain, rows in (("helpful", "preferences"), ("safety", "labels")):
        if (config.data.name == "tiny_world" or domain in config.data.domains) and not config.data.has(rows):
            # A judge that cannot be asked is found here, before any engine starts.
            require_judge(completions.source.get(0, domain))
    worker.startup_done()
    tokenized = Tokenized(worker, config, tokenizer)
    pairs = tokenized.pairs(preferences(worker, config, completions))
    labelled = tokenized.labelled(labels(worker, config, completions))
    completions.close()
    judges.unload()
    if worker.is_main:
        files.write_json(
            worker.dir / "data" / "judged.json",
            {"pairs": [vars(p) for p in pairs], "labelled": [vars(x) for x in labelled], "metrics": worker.metrics},
        )


def check(worker: Worker, config: RewardModelsConfig, pairs: list[Pair], labelled: list[Labelled]) -> None:
    """Checks that each model that the configuration promises can be trained.

    Raises:
        InputError: one of them has no pair, or not both classes, to train on.
    """
    is_tiny, data = config.data.name == "tiny_world", config.data
    wants_pairs = is_tiny or data.has("preferences") or "helpful" in data.domains
    wants_labels = is_tiny or data.has("labels") or "safety" in data.domains
    lacks_pairs = wants_pairs and all(p.is_holdout for p in pairs)
    classes = {x.is_safe for x in labelled if not x.is_holdout}
    lacks_labels = wants_labels and len(classes) < 2
    if lacks_pairs or lacks_labels or not (pairs or labelled):
        whys = []
        if lacks_pairs or not (wants_pairs or wants_labels):
            whys.append(why_no_pairs(worker.stage, config, len(pairs), worker.metrics))
        if lacks_labels:
            whys.append(why_no_labels(worker.stage, [x.is_safe for x in labelled]))
        raise InputError(
            f"{len(pairs)} judged pairs and safety classes {sorted(classes)} cannot train reward models: "
            + "; ".join(whys or ["give sources with helpful and safety prompts, rows=preferences or rows=labels"])
        )


def why_no_pairs(stage: str, config: RewardModelsConfig, num_pairs: int, metrics: dict[str, float]) -> str:
    """Why the helpful model has no pair to learn from, and what to do, from the counts of what became of them."""
    judged, close = metrics.get("helpful/judged", 0), metrics.get("helpful/too_close", 0)
    unjudged, too_long = metrics.get("helpful/unjudged", 0), metrics.get("helpful/too_long", 0)
    if num_pairs:
        return f"all {num_pairs} pairs are held out: raise stages.{stage}.num_prompts, or lower holdout_fraction"
    if too_long:
        return (
            f"{too_long:.0f} pairs are too long: raise stages.{stage}.max_completion_tokens or data.max_prompt_tokens"
        )
    if config.data.has("preferences"):
        return "in no pair of the file do the summaries of chosen and rejected differ: check their columns"
    if not judged:
        return (
            f"no two completions of a prompt differ: raise stages.{stage}.rollout.temperature or samples_per_prompt, "
            "or give sources with helpful prompts or rows=preferences"
        )
    if close >= unjudged:
        return (
            f"{close:.0f} of {judged:.0f} judged pairs are ties (a gap of at most {config.min_gap:g}): lower "
            f"stages.{stage}.min_gap, raise rollout.temperature, or choose another judge"
        )
    return f"the judge's replies about {unjudged:.0f} of {judged:.0f} pairs were not understood: see judge.*"


def why_no_labels(stage: str, are_safe: list[bool]) -> str:
    """Why the safety model has not two classes to learn from, and what to do."""
    if not are_safe:
        return (
            f"there are no safety labels: raise stages.{stage}.num_safety_prompts, or give sources with safety prompts "
            "or rows=labels"
        )
    only = "safe" if are_safe[0] else "unsafe"
    other = "unsafe" if are_safe[0] else "safe"
    if len(set(are_safe)) > 1:
        return f"what is not held out has one class only: raise stages.{stage}.num_safety_prompts"
    return (
        f"all {len(are_safe)} completions are labelled {only}, and a model of one class says nothing: give rows=labels "
        f"with {other} ones, prompts that lead to them, or raise stages.{stage}.safety_temperature"
    )


class Tokenized:
    """Makes token rows of texts: prompt, text, end of sequence.

    Rows that are longer than the longest prompt and completion together are left out, and counted in the metrics.
    """

    def __init__(self, worker: Worker, config: RewardModelsConfig, tokenizer: Any):
        self.worker, self.config = worker, config
        self.encoder = Encoder.of(config.data, tokenizer)
        self.max_tokens = config.data.max_prompt_tokens + config.max_completion_tokens + 1

    def pairs(self, preferences: list[Preference]) -> list[Pair]:
        """The pairs that are short enough, some of them held out."""
        rows = [
            Pair(self._row(p.prompt, p.chosen), self._row(p.prompt, p.rejected), self._is_holdout("helpful", p.prompt))
            for p in preferences
        ]
        short = [pair for pair in rows if max(len(pair.chosen), len(pair.rejected)) <= self.max_tokens]
        self.worker.metrics["helpful/too_long"] = len(rows) - len(short)
        return short

    def labelled(self, labels: list[Label]) -> list[Labelled]:
        """The labelled completions that are short enough, some of them held out."""
        rows = [
            Labelled(self._row(x.prompt, x.completion, is_whole=True), x.is_safe, self._is_holdout("safety", x.prompt))
            for x in labels
        ]
        short = [row for row in rows if len(row.token_ids) <= self.max_tokens]
        self.worker.metrics["safety/too_long"] = len(rows) - len(short)
        return short

    def _row(self, prompt: str, text: str, is_whole: bool = False) -> list[int]:
        """`is_whole`: the text is a whole completion, of which the template may have written the opening."""
        if is_whole:
            text = without_opening(text, self.encoder.opening)
        return self.encoder.prompt(prompt) + self.encoder.sampled_target(text)

    def _is_holdout(self, domain: str, prompt: str) -> bool:
        """Whether rows of this prompt are held out: always the same for one prompt."""
        rng = rng_for(self.worker.seed, self.worker.stage, "holdout", domain, prompt)
        return rng.random() < self.config.holdout_fraction
