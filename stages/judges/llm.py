"""A language model as judge: calls from the cache where it has them, the rest from the model; replies read strictly,
everything counted.
"""

from collections.abc import Callable

from stages.config import JudgeConfig
from stages.judges import instructions as told
from stages.judges.cache import ReplyCache
from stages.judges.calls import Call, ChatModel, JudgeUnavailable, Reply, key_of
from stages.judges.interface import Comparison, Judged
from stages.judges.ledger import Ledger
from stages.judges.verdicts import COMPARISON, CORRECTNESS, SAFETY, read_comparison, read_verdict, schema_of
from stages.prompting.prompt import Prompt
from stages.text.answers import extract_answer
from stages.text.completion import summary_of, thought_of

MAX_ANSWER_CHARACTERS = (
    4000  # of what is called a final answer; nobody needs more, and it leaves little room to talk to the judge
)


class LlmJudge:
    """See `stages.judges.interface.Judge`."""

    def __init__(self, config: JudgeConfig, model: ChatModel, cache: ReplyCache, ledger: Ledger):
        self.config, self.model, self.cache, self.ledger = config, model, cache, ledger
        self.correctness = self._verdict(told.CORRECT, "correctness", CORRECTNESS, "analysis")
        self.comparison = self._verdict(told.COMPARE, "verdict", COMPARISON, "own_answer", "analysis")
        self.safety = self._verdict(told.SAFE, "safety", SAFETY, "analysis")

    def _verdict(self, instruction: str, name: str, choices: dict, *before: str) -> tuple[str, dict]:
        """(instruction, schema of the reply)."""
        schema = schema_of(name, choices, *(before if self.config.explain else ()))
        return told.with_form(instruction, schema), schema

    def check(self) -> None:
        self.model.check()

    def problem(self, prompt: Prompt) -> str | None:
        return None

    def correct(self, items, reasons=None):
        """An empty final answer is wrong without a question."""
        answers = [final_answer(item.completion) for item in items]
        asked, (instruction, schema) = [i for i, answer in enumerate(answers) if answer], self.correctness
        calls = [
            Call(
                "correct",
                instruction,
                told.correct_user(items[i].prompt.text, items[i].prompt.answer, answers[i]),
                schema,
                items[i].seed,
            )
            for i in asked
        ]
        verdicts: list[bool | None] = [False] * len(items)
        why: dict[int, str] | None = None if reasons is None else {}
        for i, verdict in zip(
            asked, self._ask("correct", calls, lambda text: read_verdict(text, "correctness", CORRECTNESS), why)
        ):
            verdicts[i] = verdict
        if why:
            reasons.update({asked[place]: text for place, text in why.items()})
        return verdicts

    def compare(self, items: list[Comparison]):
        instruction, schema = self.comparison
        calls = [
            Call(
                "compare", instruction, told.compare_user(item.prompt.text, item.first, item.second), schema, item.seed
            )
            for item in items
        ]
        return self._ask("compare", calls, read_comparison)

    def safe(self, items: list[Judged]):
        instruction, schema = self.safety
        calls = [
            Call("safe", instruction, told.safe_user(item.prompt.text, item.completion), schema, item.seed)
            for item in items
        ]
        return self._ask("safe", calls, lambda text: read_verdict(text, "safety", SAFETY))

    def refine(self, items: list[Judged]):
        """Two calls: the thought, then a summary of the new thought."""
        calls = [
            Call(
                "refine",
                told.in_language(told.REFINE, item.prompt.language),
                told.thought_user(item.prompt.text, thought_of(item.completion)),
                seed=item.seed,
            )
            for item in items
        ]
        thoughts = self._ask("refine", calls, plain_text)
        saved = [i for i, thought in enumerate(thoughts) if thought]
        calls = [
            Call(
                "summarise",
                told.in_language(told.SUMMARISE, items[i].prompt.language),
                told.thought_user(items[i].prompt.text, thoughts[i]),
                seed=items[i].seed,
            )
            for i in saved
        ]
        refined: list[str | None] = [None] * len(items)
        for i, summary in zip(saved, self._ask("summarise", calls, plain_text)):
            refined[i] = summary and f"<think>{thoughts[i]}</think><answer>{summary}</answer>"
        return refined

    def answer(self, items: list[tuple[Prompt, int]]):
        return self._ask(
            "answer", [Call("answer", told.ANSWER, prompt.text, seed=seed) for prompt, seed in items], answer_text
        )

    def close(self) -> None:
        self.model.close()

    def _ask(
        self, job: str, calls: list[Call], read: Callable[[str], object], reasons: dict[int, str] | None = None
    ) -> list:
        """What `read` makes of each reply, None where nothing: `reasons`, where given, says why, by place. Raises
        JudgeUnavailable with what has come so far in the cache; with `reasons` only where the judge is away, not for a
        call of its own trouble.
        """
        config, ledger = self.config, self.ledger
        replies: list[Reply | None] = [None] * len(calls)
        keys = [key_of(call, config.model, config.temperature, config.max_tokens, config.structured) for call in calls]
        missing: dict[str, list[int]] = {}
        for i, key in enumerate(keys):
            if key not in missing and (reply := self.cache.get(key)) is not None:
                replies[i] = reply
                ledger.count(job, cached=1)
            else:
                missing.setdefault(key, []).append(i)
        first = [places[0] for places in missing.values()]

        def on_reply(place: int, reply: Reply) -> None:
            key = keys[first[place]]
            self.cache.put(key, reply)
            ledger.count(
                job,
                calls=1,
                retries=reply.retries,
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=reply.completion_tokens,
            )
            for i in missing[key]:
                replies[i] = reply

        def on_failure(place: int, error: JudgeUnavailable) -> None:
            ledger.count(job, failed=1)
            reasons.update(dict.fromkeys(missing[keys[first[place]]], str(error)))

        try:
            if first:
                self.model.complete([calls[i] for i in first], on_reply, on_failure if reasons is not None else None)
        except JudgeUnavailable:
            ledger.count(job, failed=1)
            raise
        finally:
            ledger.save()
        values = [reply and self._value(job, reply, read) for reply in replies]
        if reasons is not None:
            reasons |= {
                i: why_none(reply, config.max_tokens)
                for i, (reply, value) in enumerate(zip(replies, values))
                if reply and value is None
            }
        ledger.save()
        return values

    def _value(self, job: str, reply: Reply, read: Callable[[str], object]):
        """What `read` makes of a reply; one that was refused, or that cannot be read, is counted."""
        if reply.text is None:
            self.ledger.count(job, refused=1)
            return None
        value = read("" if reply.is_cut and job in ("refine", "summarise", "answer") else reply.text)
        if value is None:
            self.ledger.count(job, unparsed=1)
        return value


def why_none(reply: Reply, max_tokens: int) -> str:
    """Why there is no verdict in a reply, for people."""
    if reply.text is None:
        return f"the call was refused: {reply.problem}"
    cut = f", cut off at judge.max_tokens={max_tokens}" if reply.is_cut else ""
    return f"its verdict could not be read{cut}: {' '.join(reply.text.split())[:80]!r}"


def final_answer(completion: str) -> str:
    """What is judged: the marked answer, else what the reader sees; cut to what an answer can need."""
    answer = extract_answer(completion)
    return (answer if answer is not None else summary_of(completion)).strip()[:MAX_ANSWER_CHARACTERS]


def plain_text(text: str) -> str | None:
    """A text to be put between our tags; None if it is empty or has tags of its own."""
    text = text.strip()
    return None if not text or any(tag in text for tag in ("<think>", "</think>", "<answer>", "</answer>")) else text


def answer_text(text: str) -> str | None:
    """A completion that is plain text or a thought followed by plain text."""
    text = text.strip()
    if text.startswith("<think>") and text.count("<think>") == text.count("</think>") == 1:
        thought, summary = text.removeprefix("<think>").split("</think>")
        return (
            f"<think>{thought.strip()}</think>{summary.strip()}"
            if plain_text(thought) and plain_text(summary)
            else None
        )
    return plain_text(text)
