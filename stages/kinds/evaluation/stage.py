"""Evaluates every model on the same problems [V2 D.1].

1. load the suites: unusable rows and prompts that do not fit are found before any engine starts
2. for each model, with one engine for all its suites:
     sample what is missing of each set, and grade meanwhile; a finished sample is on disk and never made again
     measure; the results of a finished model are on disk too
3. write results.json, comparisons.json and data/scores.parquet
"""

import contextlib
import itertools
from dataclasses import asdict
from functools import partial
from pathlib import Path

from stages.config import EvaluateConfig
from stages.contract import files
from stages.contract.records import RecordReader
from stages.contract.results import write_comparisons, write_results
from stages.engines.sampling.dealing import Dealing
from stages.engines.training import init_distributed
from stages.kinds.evaluation.comparison import compare
from stages.kinds.evaluation.earlier import SCORE_COLUMNS, EarlierEvaluations
from stages.kinds.evaluation.models import Engine
from stages.kinds.evaluation.problems import ProblemSet, load_sets
from stages.kinds.evaluation.results import Groups, problem_means, results_of, with_merged_votes
from stages.kinds.evaluation.sampling import Prompter, SetSampler, Stopped
from stages.modeling.model import load_tokenizer
from stages.rewards.unanswered import Answered, Keys, diagnose
from stages.runtime.distributed import barrier
from stages.runtime.errors import InputError, Interrupted, user_errors
from stages.runtime.worker import Worker
from stages.text import language
from stages.training.alarms import Alarm, report

MOSTLY = 0.75  # share of samples without a readable answer that is said
NUM_READ = 64  # samples whose texts are read for the reason


def run(worker: Worker) -> None:
    """Evaluates all models of the inputs and writes the results."""
    config: EvaluateConfig = worker.config
    init_distributed()
    names = [role for role in worker.inputs if worker.inputs[role].model_dir]
    with user_errors():
        sets = load_sets(config, worker.seed)
    evaluation = Evaluation(worker, config, sets, names)
    language.load()  # now, because loading takes seconds of processor time from an engine that samples
    worker.cut_logs(0)  # samples of finished models are logged anew from state/
    results: list[dict] = []
    for name in names:
        outcome = evaluation.outcome(name)
        results += outcome["results"]
        worker.log_samples(outcome["samples"])
        for speed in outcome["speeds"]:
            worker.log_step(speed["step"], {key: value for key, value in speed.items() if key != "step"})
        worker.say(f"{name}: {_main_scores(outcome['results'])}")
        for row in (row for row in outcome["results"] if "note" in row):
            worker.say(f"{name} on {row['set']}: {row['note']}")
        report(worker, [Alarm(**row) for row in outcome.get("alarms", [])])
    evaluation.engine.close()
    if worker.is_main:
        evaluation.write(results)
    worker.metrics |= {f"{r['model']}/{r['set']}/{r['metric']}": r["value"] for r in results if "[" not in r["metric"]}


def _main_scores(results: list[dict]) -> str:
    """The main number of each set in one line: pass@1, or the first where a set has none; results.json has all."""
    main: dict[str, dict] = {}
    for row in results:
        if row["set"] not in main or row["metric"] == "pass@1":
            main[row["set"]] = row
    return ", ".join(f"{name} {row['metric']} {row['value']:.3f}" for name, row in main.items())


class Evaluation:
    """Takes all models through all sets, one engine at a time."""

    def __init__(self, worker: Worker, config: EvaluateConfig, sets: list[ProblemSet], names: list[str]):
        self.worker, self.config, self.sets, self.names = worker, config, sets, names
        self.engine = Engine(config)
        self.earlier = EarlierEvaluations(worker, sets, names).found
        self.dealing = Dealing(worker.rank, worker.world_size, config.rollout.tensor_parallel)
        self.dealing.connect()
        self.num_done, self.num_samples = 0, len(names) * sum(len(one.problems) * one.num_samples for one in sets)
        self.lengths = {name: self._check_lengths(name) for name in names if not self._is_measured(name)}

    def outcome(self, name: str) -> dict:
        """{"results", "samples", "alarms", "speeds"} of one model, from disk if an earlier attempt finished it."""
        path = self.worker.dir / "state" / f"{name}.json"
        if not path.exists():
            speeds = self._sample(name)
            barrier()  # every rank's records are on disk
            if self.worker.is_main:
                files.write_json(path, self._measured(name) | {"speeds": speeds})
            barrier()
        else:
            self._progress(
                sum(len(one.problems) * one.num_samples for one in self.sets), f"{name} was evaluated before"
            )
        return files.read_json(path)

    def _is_measured(self, name: str) -> bool:
        """Whether another evaluation has measured the model on all sets."""
        return all((name, one.name) in self.earlier for one in self.sets)

    def _sample(self, name: str) -> list[dict]:
        """Samples what is missing of every set; returns a row for each set that was sampled with what it took."""
        if self._is_measured(name):
            total = sum(len(one.problems) * one.num_samples for one in self.sets)
            self._progress(total, f"{name} was measured by another evaluation")
            self.worker.say(f"{name}: another evaluation of this model on these problems is taken over")
            return []
        worker, first = self.worker, self.names.index(name) * len(self.sets) + 1
        speeds: list[dict] = []
        model_dir = worker.model_dir(name)
        prompter = self._prompter(name)
        engine = self.engine.use(model_dir, *self.lengths[name])
        if not worker.startup_s:
            worker.startup_done()
        for number, one in enumerate(self.sets, start=first):
            if (name, one.name) in self.earlier:
                self._progress(len(one.problems) * one.num_samples, f"{name} on {one.name} was measured before")
                continue
            sampler = SetSampler(
                worker,
                one,
                prompter,
                self._directory(name, one),
                self.dealing,
            )
            total = len(one.problems) * one.num_samples
            if len(sampler.missing) < total:
                worker.say(f"{name} on {one.name}: {total - len(sampler.missing)} of {total} samples are there already")
            self._progress(total - len(sampler.missing), f"{name} on {one.name}")
            report = partial(self._report_samples, self.dealing.num_samplers, f"{name} on {one.name}")
            with contextlib.suppress(Stopped):  # all ranks agree below whether to stop
                speeds.append({"step": number} | sampler.run(engine, report))
            if worker.should_stop():
                raise Interrupted(
                    f"stopped while {name} was evaluated on {one.name}; finished samples are kept, "
                    "the same command continues"
                )
        return speeds

    def _report_samples(self, num_samplers: int, message: str, number: int) -> None:
        """Adds the finished samples of this process to the progress; the other samplers are taken to be as fast."""
        self._progress(number * num_samplers, message)

    def _progress(self, num_samples: int, message: str) -> None:
        """Adds finished samples to the progress of the whole stage."""
        self.num_done = min(self.num_done + num_samples, self.num_samples)
        self.worker.progress("sample", self.num_done, self.num_samples, message)

    def _measured(self, name: str) -> dict:
        """The results of a finished model, the samples that are shown to people, and what they should look at."""
        results: list[dict] = []
        samples: list[dict] = []
        alarms: list[dict] = []
        for one in self.sets:
            if (earlier := self.earlier.get((name, one.name))) is not None:
                results += earlier.results
                samples += earlier.samples
                alarms += earlier.alarms
                continue
            groups = self._groups(name, one)
            results += [{"model": name, "set": one.name, **row} for row in results_of(one, groups)]
            samples += self._shown(name, one, groups)
            alarms += self._alarms(name, one, groups)
        return {"results": results, "samples": samples, "alarms": alarms}

    def _alarms(self, name: str, one: ProblemSet, groups: Groups) -> list[dict]:
        """An alarm where most samples of a model on a set have no answer that can be read, with the likely reason."""
        records = list(itertools.chain.from_iterable(groups))
        if one.measure in ("general", "safety") or not records:
            return []
        num_unanswered = sum(not record["answered"] for record in records)
        if num_unanswered < MOSTLY * len(records):
            return []
        prompter = self._prompter(name)
        seen = diagnose(
            self._some_answers(name, one, groups),
            any(prompter.asks_for_form(prompt, one) for prompt in one.problems[0].prompts[:1]),
            prompter.template(one),
            one.suite.needs_format,
            self._keys(name, one),
        )
        share = num_unanswered / len(records)
        message = (
            f"{name} on {one.name}: {share:.0%} of {len(records)} samples have no readable answer; of the first "
            f"{seen.total} of them {seen.why}"
        )
        return [asdict(Alarm("no_answer", self.names.index(name) + 1, message, seen.advice))]

    def _some_answers(self, name: str, one: ProblemSet, groups: Groups) -> list[Answered]:
        """The first few samples without a readable answer, with their texts."""
        known = {
            (record["problem"], record["sample"]): (problem, record)
            for problem, group in zip(one.problems, groups)
            for record in group
            if not record["answered"]
        }
        wanted = dict(itertools.islice(known.items(), NUM_READ))
        found = []
        for row in RecordReader(self._directory(name, one), "samples.*"):
            if place := wanted.pop((row["problem"], row["sample"]), None):
                problem, record = place
                prompt = problem.prompts[row["sample"]]
                found.append(Answered(row["completion"], prompt, row["truncated"], record["answered"]))
        return found

    def _keys(self, name: str, one: ProblemSet) -> Keys:
        """The keys of this set that a remedy names; a model of the recipe is asked as it was trained."""
        if self.config.suites:
            suite = f"eval.{one.suite_name}"
            return Keys(f"{suite}.template", f"{suite}.max_completion_tokens", f"{suite}.loader")
        stage = f"stages.{self.worker.stage}"
        template = "data.template" if self.worker.inputs[name].template else f"{stage}.data.template"
        return Keys(template, f"{stage}.max_completion_tokens")

    def _groups(self, name: str, one: ProblemSet) -> Groups:
        """The graded samples of each problem, in order, from the records or from another evaluation.

        A sample can be graded twice where a kill came between the two logs; it counts once.
        """
        if (earlier := self.earlier.get((name, one.name))) is not None:
            return earlier.groups
        found = {
            (record["problem"], record["sample"]): record
            for record in RecordReader(self._directory(name, one), "grades.*")
        }
        groups = [[found[problem.id, number] for number in range(one.num_samples)] for problem in one.problems]
        return with_merged_votes(one, groups)

    def _shown(self, name: str, one: ProblemSet, groups: Groups) -> list[dict]:
        """The first completion of each of the first problems, for people to read."""
        wanted = {problem.id: None for problem in one.problems[: self.config.num_shown]}
        for record in RecordReader(self._directory(name, one), "samples.*"):
            if record["sample"] == 0 and record["problem"] in wanted:
                wanted[record["problem"]] = record["completion"]
        return [
            {
                "step": 1,
                "model": name,
                "set": one.name,
                "prompt_id": problem.id,
                "prompt": problem.prompts[0].text,
                "answer": problem.prompts[0].answer,
                "completion": wanted[problem.id],
                "correct": group[0]["correct"],
            }
            for problem, group in list(zip(one.problems, groups))[: self.config.num_shown]
        ]

    def write(self, results: list[dict]) -> None:
        """Writes results.json, comparisons.json, and the measures of every sample as data/scores.parquet."""
        means: dict[str, dict[str, list[float]]] = {}
        scores: list[dict] = []
        for one in self.sets:
            groups = {name: self._groups(name, one) for name in self.names}
            means[one.name] = {name: problem_means(found) for name, found in groups.items()}
            levels = {problem.id: problem.level for problem in one.problems}
            for name, found in groups.items():
                for record in itertools.chain.from_iterable(found):
                    place = {"model": name, "set": one.name, "level": levels[record["problem"]]}
                    scores.append(place | {key: record[key] for key in SCORE_COLUMNS})
        write_comparisons(self.worker.dir, compare(means))
        self._write_scores(scores)
        self.worker.count_tokens("evaluation", sampled=sum(score["tokens"] for score in scores if self._is_new(score)))
        write_results(self.worker.dir, results)

    def _is_new(self, score: dict) -> bool:
        return (score["model"], score["set"]) not in self.earlier

    def _write_scores(self, scores: list[dict]) -> None:
        import pyarrow
        import pyarrow.parquet

        path = self.worker.dir / "data" / "scores.parquet"
        path.parent.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(scores), path)

    def _check_lengths(self, name: str) -> tuple[int, int]:
        """The longest prompt and the longest sequence that this model will be asked for, tokens.

        Raises:
            InputError: The model's context is shorter.
        """
        from transformers import AutoConfig

        prompter, model_dir = self._prompter(name), self.worker.model_dir(name)
        longest_prompt = longest = 0
        limit = getattr(AutoConfig.from_pretrained(model_dir).get_text_config(), "max_position_embeddings", None)
        for one in self.sets:
            prompt, completion = prompter.longest(one), one.suite.max_completion_tokens
            if limit and prompt + completion > limit:
                key = (
                    f"eval.{one.name}.max_completion_tokens"
                    if self.config.suites
                    else "stages.evaluate.max_completion_tokens"
                )
                raise InputError(
                    f"{one.name}: a prompt of {prompt} tokens and {completion} of completion do not fit the context "
                    f"of the model in {model_dir}, which "
                    f"holds {limit}: lower {key}"
                )
            longest_prompt, longest = max(longest_prompt, prompt), max(longest, prompt + completion)
        return longest_prompt, longest

    def _prompter(self, name: str) -> Prompter:
        """The prompts as this model sees them."""
        return Prompter(
            load_tokenizer(self.worker.model_dir(name)),
            self.config.data.template,
            self.worker.inputs[name].template,
            self.config.data.system,
            self.config.data.examples,
        )

    def _directory(self, name: str, one: ProblemSet) -> Path:
        """Where the records of a model on a set lie."""
        return self.worker.dir / "state" / name / one.name
