"""Whether a sweep can compare its jobs by the stage, the set and the metric that it is told, before the first job."""

import difflib

from pipeline.configuration.schema import RunConfig
from pipeline.execution.sweep import choose_objective

OF_TRAINING = ("train/loss", "train/grad_norm", "train/lr", "train/tokens", "perf/tokens_per_s", "perf/step_s",
               "tokens/trained")  # fmt: skip
OF_RL = (
    *("reward/mean", "reward/std", "reward/accuracy", "reward/format", "reward/language", "reward/helpful"),
    *("reward/safety", "reward/overlong", "reward/repetition", "reward/grader_errors", "reward/zero_std_frac"),
    *("reward/sampled_groups", "completion/mean_tokens", "completion/max_tokens", "completion/truncated_frac"),
    *("completion/reasoning_tokens", "completion/reflection_rate", "completion/reflections", "completion/language"),
    *("policy/kl", "policy/entropy", "policy/clip_frac", "policy/mismatch_max", "policy/mismatch_kl"),
    *("policy/update_mismatch", "policy/probe_mean", "policy/probe_max", "policy/correction", "policy/staleness"),
    "tokens/sampled",
)
OF_DATA = ("data/samples", "data/kept", "data/kept_frac", "data/malformed", "data/wrong", "data/mixed_language")
OF_REWARD_MODELS = ("helpful/holdout_accuracy", "helpful/train_accuracy", "helpful/pairs", "helpful/length_correlation",
                    "safety/holdout_accuracy", "safety/labels", "safety/loss")  # fmt: skip
# Metrics of each kind of stage. Groups grow with what a stage is told (words/WORD, level/N/accuracy), so a name that is
# not here is refused only where its whole group is unknown, or where it looks like a slip.
METRICS = {
    "pretrain": OF_TRAINING,
    "sft": (*OF_TRAINING, "train/steps", "data/samples", "data/too_long"),
    "grpo": (*OF_RL, *OF_TRAINING),
    "collect": (*OF_DATA, "perf/tokens_per_s", "tokens/sampled"),
    "reward_models": (*OF_REWARD_MODELS, *OF_TRAINING, "judge/calls"),
    "evaluate": (),
    "report": (),
}
FREE_GROUPS = ("words", "level", "watch", "time")  # whose names follow from prompts and settings
OF_SETS = ("pass@1", "cons@k", "pass@k", "format", "language", "reflection", "tokens", "thinking_tokens", "truncated",
           "no_answer", "grader_errors", "helpfulness", "polite", "rude", "refused", "harmful_refused", "harmful_safe",
           "benign_refused", "benign_correct", "benign_rude", "rating", "percentile")  # fmt: skip
OF_TINY_WORLD = ("tiny_math", "tiny_general", "tiny_safety")


def objective_mistakes(config: RunConfig) -> list[str]:
    """What is wrong with `sweep.stage`, `sweep.set` and `sweep.metric` for the stages that the jobs make."""
    chosen, selection = config.sweep, config.selection
    if not selection:
        return []
    mistakes = []
    stages = [node for node in selection if config.stage(node) is not None]
    if chosen.stage is not None and chosen.stage not in selection and not chosen.set:
        mistakes.append(
            f"sweep.stage={chosen.stage}: the jobs do not make it; they make {_listed(stages, chosen.stage)}"
        )
    if chosen.set is not None and "evaluate" not in selection:
        mistakes.append(
            f"sweep.set={chosen.set}: the jobs evaluate nothing; add evaluate to the stages, or leave it out"
        )
    elif chosen.set is not None and (sets := _sets(config)) and chosen.set not in sets:
        mistakes.append(f"sweep.set={chosen.set}: no such set; the jobs measure {_listed(sets, chosen.set)}")
    if mistakes or chosen.metric is None:
        return mistakes
    objective = choose_objective(config)
    known = OF_SETS if objective.set_name else METRICS[config.node(objective.stage).kind]
    return _slip(chosen.metric, known, objective.set_name is not None, objective.stage)


def _sets(config: RunConfig) -> list[str]:
    """The sets that the jobs measure, as far as the configuration says; nothing where rows decide."""
    evaluate = config.stages.evaluate
    suites = [name for name in evaluate.suites if name != "own"]
    has_own = not evaluate.suites or "own" in evaluate.suites or "tiny" in suites
    if not has_own:
        return suites
    if config.data.name == "tiny_world" or "tiny" in suites:
        return [*OF_TINY_WORLD, *(name for name in suites if name != "tiny")]
    return []


def _slip(metric: str, known: tuple[str, ...], is_of_set: bool, stage: str) -> list[str]:
    """A mistake where a metric cannot be meant: an unknown group, or nearly a known name."""
    if (
        metric in known
        or metric.split("/")[0] in FREE_GROUPS
        or (is_of_set and metric.startswith(("pass@", "cons@")))
        or not known
    ):
        return []
    close = difflib.get_close_matches(metric, known, n=1, cutoff=0.75)
    groups = list(dict.fromkeys(name.split("/")[0] for name in known))
    if not close and (is_of_set or metric.split("/")[0] in groups):
        return []
    what = "its sets" if is_of_set else stage
    return [f"sweep.metric={metric}: {what} has no such number; it has {_listed(list(known), metric)}"]


def _listed(names: list[str], wrong: str) -> str:
    close = difflib.get_close_matches(wrong, names, n=1)
    shown = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
    return shown + (f"; did you mean {close[0]}?" if close else "")
