"""The filters that decide which completions may become training data [V2 B.3.2, B.3.3]."""

from collections.abc import Mapping

from stages.config import CollectConfig
from stages.prompting.prompt import Prompt
from stages.rewards.grading import Grade, grade_many
from stages.text.completion import is_well_formed, thought_of
from stages.text.language import language_consistency
from stages.text.readability import has_code_block, longest_paragraph
from stages.text.repetition import repeated_ngram_share
from stages.training.rollouts import Rollout
from stages.worlds.tiny_world.split import held_out_parts

# What can become of a completion, in the order in which it meets the filters.
#   unjudged          its grader failed, or the judge's reply was not understood
#   beyond_refining   refining gave no readable, right text
#   spare             it is good, but its prompt has enough of them, or the same one already
REASONS = (
    "truncated",
    "malformed",
    "wrong",
    "mixed_language",
    "repetitive",
    "too_long",
    "code_block",
    "long_paragraph",
    "held_out",
    "unjudged",
    "beyond_refining",
    "spare",
    "kept",
)
# What became of a completion that was dropped, in words, and the key to turn where most were dropped so. {stage} is the
# stage's name; other names in braces are keys of its configuration.
REMEDIES = {
    "truncated": (
        "were cut at the length limit of {max_completion_tokens} tokens",
        "raise stages.{stage}.max_completion_tokens",
    ),
    "malformed": (
        "are not <think>thought</think><answer>answer</answer>",
        "ask the policy for the tags (stages.{stage}.data.template=r1_zero, or examples with stages.{stage}.few_shot), "
        "or train it longer before it is sampled",
    ),
    "wrong": (
        "have a wrong answer",
        "train the policy longer, give easier prompts, or draw more (stages.{stage}.samples_per_prompt); where samples "
        "look right, check data.verifier and the answer column",
    ),
    "mixed_language": (
        "have a thought that is not in the prompt's language",
        "lower stages.{stage}.min_language ({min_language}), check data.language, or train the policy with "
        "rewards.language",
    ),
    "repetitive": ("repeat themselves", "raise stages.{stage}.max_repetition ({max_repetition})"),
    "too_long": (
        "are longer than {max_kept_tokens} tokens",
        "raise stages.{stage}.max_kept_tokens",
    ),
    "code_block": ("have code in the thought", "set stages.{stage}.drop_code_blocks=false"),
    "long_paragraph": ("have a paragraph that is too long", "raise stages.{stage}.max_paragraph ({max_paragraph})"),
    "held_out": ("hold parts of held-out problems", "raise stages.{stage}.num_prompts"),
    "unjudged": (
        "could not be graded",
        "look at the grader's or the judge's errors in the log; see judge.* and sandbox.*",
    ),
    "beyond_refining": (
        "were lost by refining",
        "set stages.{stage}.refine=none, or choose another judge",
    ),
}
# All other completions have the right answer: they make the pass rate of their prompt.
NOT_RIGHT = ("truncated", "malformed", "wrong", "unjudged")


def rejections(rollouts: list[Rollout], config: CollectConfig) -> list[str | None]:
    """Says for each completion why it is rejected, or None.

    Completions whose prompts have the verifier `judge` count as right here: the judge is asked last, about all at once.
    """
    readable = [i for i, r in enumerate(rollouts) if not r.is_truncated and is_well_formed(r.completion)]
    ruled = [i for i in readable if rollouts[i].prompt.verifier != "judge"]
    grades = dict(zip(ruled, grade_many([(rollouts[i].completion, rollouts[i].prompt) for i in ruled])))
    return [rejection(rollout, grades.get(i, Grade(1.0)), config) for i, rollout in enumerate(rollouts)]


def rejection(rollout: Rollout, grade: Grade, config: CollectConfig) -> str | None:
    """Says why a completion with this grade is rejected, or None: right first, then readable, then its length."""
    if rollout.is_truncated:
        return "truncated"
    if not is_well_formed(rollout.completion):
        return "malformed"
    if grade.value < 1:
        return "unjudged" if grade.error else "wrong"
    return unreadable(rollout.completion, rollout.prompt, config) or too_much(rollout, config)


def what_dropped_most(counts: Mapping[str, int], stage: str, config: CollectConfig) -> tuple[str, str]:
    """Says which filter has dropped most completions, and what to do about it.

    Args:
        counts: completions by what became of them.
        stage: its name.
        config: its configuration.

    Returns:
        A sentence with the counts, and the remedy with its key; ("", "") where nothing was dropped.
    """
    dropped = {reason: counts[reason] for reason in REMEDIES if counts.get(reason)}
    if not dropped:
        return "", ""
    most = max(dropped, key=lambda reason: dropped[reason])
    what, remedy = (text.format(stage=stage, **vars(config)) for text in REMEDIES[most])
    others = ", ".join(f"{number} {reason}" for reason, number in dropped.items() if reason != most)
    return f"{dropped[most]} of {sum(counts.values())} {what}" + (f" (others: {others})" if others else ""), remedy


def unreadable(completion: str, prompt: Prompt, config: CollectConfig) -> str | None:
    """Says why a completion is hard to read, or None: no thought, several languages, or repetition.

    A thought without words, such as "6 * 7 = 42", is in no language, and so it mixes none.
    """
    thought = thought_of(completion)
    if not thought.strip():
        return "malformed"
    language = language_consistency(thought, prompt.language)
    if language is not None and language < config.min_language:
        return "mixed_language"
    return "repetitive" if repeated_ngram_share(completion) > config.max_repetition else None


def too_much(rollout: Rollout, config: CollectConfig) -> str | None:
    """Says what a completion has too much of, or None: tokens, code, long paragraphs, parts of held-out problems."""
    thought = thought_of(rollout.completion)
    if len(rollout.completion_ids) > config.max_kept_tokens:
        return "too_long"
    if config.drop_code_blocks and has_code_block(thought):
        return "code_block"
    if config.max_paragraph and longest_paragraph(thought) > config.max_paragraph:
        return "long_paragraph"
    if config.data.name == "tiny_world" and held_out_parts(rollout.completion):
        return "held_out"  # a wrong step can write an expression of the test set, which no training text may hold
    return None


def choose(passed: list[dict], pass_rate: float, config: CollectConfig) -> list[dict]:
    """Orders the distinct completions of a prompt by preference.

    The shortest of an easy prompt come first, so that it gets short thoughts [V2 B.3.2: simple questions must not be
    thought about at length].
    """
    is_easy = pass_rate > config.easy_pass_rate
    return sorted(distinct(passed), key=lambda row: row["num_tokens"]) if is_easy else distinct(passed)


def distinct(rows: list[dict]) -> list[dict]:
    """Leaves out the repetitions of a completion; the order stays."""
    found: dict[str, dict] = {}
    for row in rows:
        found.setdefault(row["completion"], row)
    return list(found.values())
