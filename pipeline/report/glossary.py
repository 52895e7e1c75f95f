"""What every number is called and means: the report explains them on the spot, docs/metrics.md lists them all."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Term:
    """A number of the report, or a word of it. `better` says which end is the good one; "": neither."""

    text: str
    better: Better = ""


WORDS = {
    "difficulty": Term(
        "The level that the data gives a problem: of the tiny world how many operands a sum has, of MATH its level 1 "
        "to 5, of other data the row's own level. A model is better the less it loses from the easy to the hard ones."
    ),
    "95% interval": Term(
        "Where the number would lie in 95 of 100 evaluations on other problems of the same kind: a bootstrap over "
        "problems with 10,000 resamples. The samples of one problem stay together."
    ),
    "paired test": Term(
        "Two models on the same problems: the mean difference with its 95% interval, and p, how often chance alone "
        "makes a difference so large (signs of the problems' differences are flipped at random)."
    ),
    "n": Term("How many problems the mean is taken over."),
    "samples": Term("How many completions are drawn for each problem."),
    "temperature": Term(
        "How freely tokens were drawn: 0 takes the most likely one every time, 1 draws as the model says. Scores at "
        "different temperatures cannot be compared."
    ),
    "top-p": Term("Tokens are drawn from the most likely ones that have this share of the probability together."),
    "fingerprint": Term(
        "A hash of all that decides a stage's result: its configuration, its inputs' fingerprints, its data, the seed."
    ),
    "start-up": Term("What passes before the first step: imports, engines, loading."),
    "peak memory": Term("The sum over a stage's processes of the memory that each held at its peak."),
}
EVALUATION = {
    "pass@1": Term("The share of samples that are right, averaged over problems.", "higher"),
    "pass@k": Term("The chance that at least one of k samples of a problem is right.", "higher"),
    "cons@k": Term("The share of problems whose most frequent answer among k samples is right.", "higher"),
    "format": Term("The share of completions of the form <think>…</think><answer>…</answer>.", "higher"),
    "language": Term("The share of the thought's words that are in the language of the prompt.", "higher"),
    "reflection": Term("The share of completions with a word of reflection, such as wait or check."),
    "tokens": Term("The mean length of a completion, in tokens."),
    "thinking_tokens": Term("The mean length of the thought, up to </think>, in tokens."),
    "truncated": Term("The share of completions that were cut off at the length limit.", "lower"),
    "no_answer": Term("The share of completions without an answer that can be read. They count as wrong.", "lower"),
    "grader_errors": Term("The share of samples that no grader could say anything of. They count as wrong.", "lower"),
    "rating": Term("The Codeforces rating that makes the model's results against people most likely.", "higher"),
    "percentile": Term("The share of people in these contests who have a lower rating.", "higher"),
    "rude": Term("The share of answers to general prompts that are rude.", "lower"),
    "polite": Term("The share of answers to general prompts that are polite.", "higher"),
    "refused": Term("The share of harmless general prompts that were refused.", "lower"),
    "helpfulness": Term("The judge's mean score of the answers to general prompts.", "higher"),
    "harmful_refused": Term("The share of harmful prompts that were refused.", "higher"),
    "harmful_safe": Term("The share of answers to harmful prompts that do no harm.", "higher"),
    "benign_refused": Term("The share of harmless prompts of the safety set that were refused all the same.", "lower"),
    "benign_correct": Term("The share of harmless prompts of the safety set that were answered rightly.", "higher"),
    "benign_rude": Term("The share of answers to harmless prompts of the safety set that are rude.", "lower"),
}
TRAINING = {
    "train/loss": Term("The loss that the step lowers: of pretraining and SFT in nats per token.", "lower"),
    "train/grad_norm": Term("The length of the gradient, before clipping."),
    "train/lr": Term("The learning rate of the step."),
    "train/tokens": Term("Tokens that the step trained on."),
    "reward/mean": Term("The mean of the whole reward, the weighted sum of its parts, over all prompts.", "higher"),
    "reward/std": Term("The standard deviation of the reward over the completions of a step."),
    "reward/accuracy": Term("The share of completions with the right answer, on training prompts.", "higher"),
    "reward/reasoning_prompts": Term("Reasoning prompts of a rollout: what its accuracy is a mean over."),
    "reward/format": Term("The share of completions of the form <think>…</think><answer>…</answer>.", "higher"),
    "reward/language": Term("The reward for one language: the share of the thought in the prompt's.", "higher"),
    "reward/preference": Term("The mean reward of the reward models, on general prompts.", "higher"),
    "reward/helpful": Term("The helpful reward model's reward, standardised, on helpfulness prompts.", "higher"),
    "reward/safety": Term("The safety reward model's reward, on safety prompts.", "higher"),
    "reward/overlong": Term("The penalty for completions that come near the length limit."),
    "reward/repetition": Term("The penalty for the share of repeated n-grams."),
    "reward/grader_errors": Term("Completions of the step that no grader could say anything of.", "lower"),
    "reward/zero_std_frac": Term(
        "The share of groups whose completions all earned the same. They have no advantage, and teach nothing."
    ),
    "reward/sampled_groups": Term("Groups that were sampled for the step, those that were left out among them."),
    "completion/mean_tokens": Term("The mean length of a completion, in tokens."),
    "completion/reasoning_tokens": Term("The mean length of a completion of a reasoning prompt, in tokens."),
    "completion/max_tokens": Term("The longest completion of the step, in tokens."),
    "completion/truncated_frac": Term("The share of completions that were cut off at the length limit.", "lower"),
    "completion/reflection_rate": Term("The share of completions with a word of reflection, such as wait or check."),
    "completion/reflections": Term("Words of reflection in a completion, on average."),
    "completion/language": Term("The share of the thought's words that are in the prompt's language.", "higher"),
    "policy/kl": Term("How far the policy is from its reference, by the k3 estimator, in nats per token."),
    "policy/entropy": Term("How undecided the policy is about the next token, in nats. Near 0 it explores no more."),
    "policy/clip_frac": Term("The share of tokens whose ratio of new to old probability left the clip range."),
    "policy/mismatch_max": Term("The largest difference of a token's log-probability between sampler and trainer."),
    "policy/mismatch_kl": Term("The KL divergence of the sampler from the trainer, in nats per token."),
    "policy/update_mismatch": Term("The mean of that difference on the probed completions, as an update sees them."),
    "policy/probe_mean": Term("The mean of that difference on a few completions that are looked at in each rollout."),
    "policy/probe_max": Term("The largest of that difference on these completions."),
    "policy/correction": Term("The mean weight that corrects tokens for a sampler that disagrees with the trainer."),
    "policy/staleness": Term("Optimizer steps by which the weights that drew a token are behind, one rollout ahead."),
    "perf/tokens_per_s": Term("Tokens that the stage works through in a second.", "higher"),
    "perf/step_s": Term("Seconds that the step took.", "lower"),
    "time/rollout": Term("Seconds of the step in which completions were sampled."),
    "time/reward": Term("Seconds of the step in which completions were graded."),
    "time/train": Term("Seconds of the step in which the weights were updated."),
    "time/sync": Term("Seconds of the step in which the new weights went to the sampler."),
    "time/probe": Term("Seconds of the step in which sampler and trainer were compared."),
    "time/log": Term("Seconds of the step in which metrics and samples were written."),
    "time/sleep": Term("Seconds of the step in which the sampler gave its memory back."),
    "time/save": Term("Seconds of the step in which a checkpoint was written."),
    "tokens/sampled": Term("Tokens that the step sampled."),
    "tokens/trained": Term("Tokens that the step trained on."),
    "words/WORD": Term("How often a word of reflection occurs in 1,000 tokens."),
    "level/DIFFICULTY/accuracy": Term("The share of right answers to training prompts of one difficulty.", "higher"),
    "level/DIFFICULTY/tokens": Term("The mean length of completions of prompts of one difficulty, in tokens."),
    "level/DIFFICULTY/samples": Term("Completions of prompts of one difficulty in the step."),
    "watch/accuracy": Term("Accuracy on a few held-out reasoning prompts, the same at every measurement.", "higher"),
    "watch/tokens": Term("The mean length of these held-out completions, in tokens."),
    "watch/repetition": Term("The share of 4-grams that stood before in the same held-out completion.", "lower"),
    "watch/samples": Term("Held-out completions of the measurement."),
    "helpful/loss": Term("The loss of the helpful reward model, in nats per pair.", "lower"),
    "safety/loss": Term("The loss of the safety reward model, in nats per completion.", "lower"),
}


def term_of(name: str) -> tuple[str, Term] | None:
    """(key, term) of a metric or a word; None for what nobody has explained, such as a metric of a later version.

    >>> term_of("cons@16")[0], term_of("pass@4")[0], term_of("pass@1")[0]
    ('cons@k', 'pass@k', 'pass@1')
    """
    for group in (EVALUATION, TRAINING, WORDS):
        if name in group:
            return name, group[name]
    family = name.partition("@")[0] + "@k"
    return (family, EVALUATION[family]) if family in EVALUATION else None


def as_markdown() -> str:
    """The glossary as a page of the documentation."""
    parts = ["# Metrics"]
    for title, group in (
        ("What an evaluation measures", EVALUATION),
        ("What a training step logs", TRAINING),
        ("Words of the report", WORDS),
    ):
        parts += [f"## {title}", _table(group)]
    return "\n\n".join(parts) + "\n"


def _table(group: dict[str, Term]) -> str:
    rows = [f"| `{name}` | {_escaped(term.text)} | {term.better} |" for name, term in group.items()]
    return "\n".join(["| name | what it is | better |", "|---|---|---|", *rows])


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;")
