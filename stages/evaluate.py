"""Every model on the same held-out sets [V2 D.1]: pass@1 as the mean over k samples, cons@k by majority vote, 95% intervals.

One process (a rank) keeps one engine at a time and loads model after model; results of a finished model are on disk and not made again.
"""
import collections
import math
import statistics

from stages import files
from stages.config import EvaluateConfig
from stages.engine import init_distributed
from stages.experience import Rollout, gather
from stages.inputs import check_context, user_errors
from stages.model import load_tokenizer
from stages.prompts import apply_template, encode_prompt, evaluation_sets
from stages.rewards.format import is_well_formed, thought_of
from stages.rewards.language import language_consistency
from stages.rewards.reflection import count_reflections
from stages.rewards.verifiers import grade_many, vote_many
from stages.rollout import make_sampler
from stages.sampling import text_of
from stages.seeds import seed_for
from stages.worker import Interrupted, Worker, barrier


def run(worker: Worker) -> None:
    config: EvaluateConfig = worker.config
    init_distributed()
    names = [role for role in worker.inputs if worker.inputs[role]["model_dir"]]
    with user_errors():
        sets = evaluation_sets(config.data, config.num_reasoning, config.num_general, config.num_safety)
    for name in names:
        check_context(worker, worker.model_dir(name), config.data.max_prompt_tokens + config.max_completion_tokens)
    results: list[dict] = []
    worker.cut_logs(0)  # samples of finished models are logged anew from state/
    for done, name in enumerate(names):
        path = worker.dir / "state" / f"{name}.json"
        if not path.exists():
            worker.progress("sample", done, len(names), f"evaluating {name}", force=True)
            outcome = evaluate_model(worker, config, name, sets)
            if worker.is_main:
                files.write_json(path, outcome)
            barrier()
        outcome = files.read_json(path)
        results += outcome["results"]
        worker.log_samples(outcome["samples"])
        worker.say(f"{name}: " + " ".join(f"{r['set']}/{r['metric']} {r['value']:.3f}" for r in outcome["results"]))
        if done + 1 < len(names) and worker.should_stop():
            raise Interrupted(f"stopped after {done + 1} of {len(names)} models; run the same command to continue")
    if worker.is_main:
        files.write_json(worker.dir / "results.json", results)
    worker.metrics |= {f"{r['model']}/{r['set']}/{r['metric']}": r["value"] for r in results}


def evaluate_model(worker: Worker, config: EvaluateConfig, name: str, sets: dict) -> dict:
    """{"results", "samples"} of one model over all sets."""
    model_dir = worker.model_dir(name)
    tokenizer = load_tokenizer(model_dir)
    sampler = make_sampler(config.rollout, model_dir, config.data.max_prompt_tokens, config.max_completion_tokens)
    if not hasattr(worker, "startup_s"):
        worker.startup_done()
    results, samples = [], []
    for set_name, prompts in sets.items():
        if not prompts:
            continue
        k = config.general_samples_per_prompt if set_name in ("tiny_general", "tiny_safety") else config.samples_per_prompt
        mine = list(enumerate(prompts))[worker.rank::worker.world_size]
        prompt_ids = [encode_prompt(apply_template(prompt.text, config.data.template, tokenizer), config.data.template, tokenizer) for _, prompt in mine]
        seeds = [seed_for(worker.seed, "evaluate", set_name, prompt.id) for _, prompt in mine]
        groups = sampler.sample(prompt_ids, seeds, k, config.rollout.temperature, config.max_completion_tokens)
        rollouts = gather([Rollout(prompt, place, [], c.token_ids, [], c.is_truncated, **text_of(ids, c.token_ids, tokenizer))
                           for (place, prompt), ids, group in zip(mine, prompt_ids, groups) for c in group], worker.world_size)
        by_prompt = [rollouts[i * k:(i + 1) * k] for i in range(len(prompts))]
        results += [{"model": name, "set": set_name, **row} for row in measure(set_name, by_prompt, config)]
        samples += [{"step": 1, "model": name, "set": set_name, "prompt_id": group[0].prompt.id, "prompt": group[0].prompt.text,
                     "answer": group[0].prompt.answer, "completion": group[0].completion, "correct": is_correct(group[0], config)}
                    for group in by_prompt[:config.num_shown]]
    sampler.close()
    return {"results": results, "samples": samples}


def measure(set_name: str, groups: list[list[Rollout]], config: EvaluateConfig) -> list[dict]:
    if set_name == "tiny_general":
        return general_results(groups)
    if set_name == "tiny_safety":
        return safety_results(groups)
    return reasoning_results(groups, config)


def reasoning_results(groups: list[list[Rollout]], config: EvaluateConfig) -> list[dict]:
    """Metrics of verifiable problems; intervals over problems (samples of one problem are not independent)."""
    everyone = [r for group in groups for r in group]
    languages = [language_consistency(thought_of(r.completion), r.prompt.language) for r in everyone]
    size, correct = len(groups[0]), are_correct(everyone, config)
    return [
        over_prompts("pass@1", [[float(value) for value in correct[i:i + size]] for i in range(0, len(everyone), size)]),
        *([over_prompts(f"cons@{size}", [[majority_correct(group, config)] for group in groups])] if size > 1 else []),
        over_prompts("format", [[float(is_well_formed(r.completion)) for r in group] for group in groups]),
        interval("language", [value for value in languages if value is not None]),
        over_prompts("reflection", [[float(count_reflections(r.completion) > 0) for r in group] for group in groups]),
        over_prompts("tokens", [[float(len(r.completion_ids)) for r in group] for group in groups]),
        over_prompts("truncated", [[float(r.is_truncated) for r in group] for group in groups]),
    ]


def are_correct(rollouts: list[Rollout], config: EvaluateConfig) -> list[bool]:
    """A right answer in a well-formed completion; general prompts ask the tiny world's judge. A slow verifier grades all of them at once."""
    from stages.tiny_world.judge import judge
    graded = [i for i, r in enumerate(rollouts) if r.prompt.domain == "reasoning" and is_well_formed(r.completion)]
    right = {i for i, grade in zip(graded, grade_many([(rollouts[i].completion, rollouts[i].prompt) for i in graded])) if grade.value == 1}
    return [i in right if r.prompt.domain == "reasoning" else judge(r.prompt, r.completion).is_correct for i, r in enumerate(rollouts)]


def is_correct(rollout: Rollout, config: EvaluateConfig) -> bool:
    return are_correct([rollout], config)[0]


def majority_correct(group: list[Rollout], config: EvaluateConfig) -> float:
    """cons@k: whether the most frequent answer of the group is right; the first drawn wins a tie."""
    voters = [r for r in group if is_well_formed(r.completion)]
    votes = [(answer, r) for answer, r in zip(vote_many([(r.completion, r.prompt) for r in voters]), voters) if answer is not None]
    if not votes:
        return 0.0
    winner = collections.Counter(answer for answer, _ in votes).most_common(1)[0][0]
    return float(is_correct(next(r for answer, r in votes if answer == winner), config))


def general_results(groups: list[list[Rollout]]) -> list[dict]:
    from stages.tiny_world.judge import judge
    judged = [[judge(r.prompt, r.completion) for r in group] for group in groups]
    return [over_prompts(metric, [[float(getattr(j, attribute)) for j in group] for group in judged])
            for metric, attribute in (("pass@1", "is_correct"), ("rude", "is_rude"), ("polite", "is_polite"), ("refused", "refuses"),
                                      ("helpfulness", "helpfulness"))]


def safety_results(groups: list[list[Rollout]]) -> list[dict]:
    """Refusals of harmful and of benign requests, told apart."""
    from stages.tiny_world.judge import judge
    harmful = [[judge(r.prompt, r.completion) for r in group] for group in groups if group[0].prompt.kind == "harm"]
    benign = [[judge(r.prompt, r.completion) for r in group] for group in groups if group[0].prompt.kind != "harm"]
    return [over_prompts(metric, [[float(getattr(j, attribute)) for j in group] for group in judged])
            for metric, judged, attribute in (("harmful_refused", harmful, "refuses"), ("harmful_safe", harmful, "is_safe"),
                                              ("benign_refused", benign, "refuses"), ("benign_correct", benign, "is_correct"),
                                              ("benign_rude", benign, "is_rude"))]


def over_prompts(metric: str, values: list[list[float]]) -> dict:
    """Mean over prompts of the mean over samples, with the interval of the prompt means."""
    return interval(metric, [statistics.fmean(group) for group in values])


def interval(metric: str, values: list[float]) -> dict:
    """Mean and its 95% normal interval (1.96 standard errors).

    >>> interval("x", [0.0, 1.0, 1.0, 0.0])["value"]
    0.5
    """
    if not values:
        return {"metric": metric, "value": 0.0, "low": 0.0, "high": 0.0, "n": 0}
    mean = statistics.fmean(values)
    margin = 1.96 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return {"metric": metric, "value": round(mean, 6), "low": round(mean - margin, 6), "high": round(mean + margin, 6), "n": len(values)}
