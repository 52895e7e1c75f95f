"""A language model as judge: replies from the cache where it has them, the rest from the model.

Replies are read strictly, and everything is counted.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from stages.config import JudgeConfig
from stages.judges import instructions
from stages.judges.cache import ReplyCache
from stages.judges.calls import Call, ChatModel, JudgeUnavailable, Reply, key_of
from stages.judges.interface import Comparison, Judged
from stages.judges.ledger import Ledger
from stages.judges.verdicts import COMPARISON, CORRECTNESS, SAFETY, read_comparison, read_verdict, schema_of
from stages.prompting.prompt import Prompt
from stages.text.answers import extract_answer
from stages.text.completion import summary_of, thought_of

# Of what is called a final answer: nobody needs more, and it leaves little room to talk to the judge.
MAX_ANSWER_CHARACTERS = 4000
FREE_TEXT = ("refine", "summarise", "answer")  # jobs whose reply is a text of its own: one that is cut is useless

Value = TypeVar("Value")


class LlmJudge:
    """See `stages.judges.interface.Judge`."""

    def __init__(self, config: JudgeConfig, model: ChatModel, cache: ReplyCache, ledger: Ledger):
        self.config = config
        self.model = model
        self.cache = cache
        self.ledger = ledger
        self.correctness = self._verdict(instructions.CORRECT, "correctness", CORRECTNESS, "analysis")
        self.comparison = self._verdict(instructions.COMPARE, "verdict", COMPARISON, "own_answer", "analysis")
        self.safety = self._verdict(instructions.SAFE, "safety", SAFETY, "analysis")

    def _verdict(
        self, instruction: str, name: str, choices: Mapping[str, object], *before: str
    ) -> tuple[str, dict[str, Any]]:
        """The instruction that asks for a verdict, and the schema of the reply."""
        schema = schema_of(name, choices, *(before if self.config.explain else ()))
        return instructions.with_form(instruction, schema), schema

    def check(self) -> None:
        """See `Judge.check`."""
        self.model.check()

    def prompt_problem(self, prompt: Prompt) -> str | None:
        """None: a language model can be asked about any prompt."""
        return None

    def correct(self, items: list[Judged], reasons: dict[int, str] | None = None) -> list[bool | None]:
        """See `Judge.correct`; an empty final answer is wrong without a question."""
        answers = [final_answer(item.completion) for item in items]
        asked = [i for i, answer in enumerate(answers) if answer]
        instruction, schema = self.correctness
        calls = []
        for i in asked:
            user = instructions.correct_user(items[i].prompt.text, items[i].prompt.answer, answers[i])
            calls.append(Call("correct", instruction, user, schema, items[i].seed))
        why: dict[int, str] | None = None if reasons is None else {}
        found = self._ask("correct", calls, lambda text: read_verdict(text, "correctness", CORRECTNESS), why)
        verdicts: list[bool | None] = [False] * len(items)
        for i, verdict in zip(asked, found):
            verdicts[i] = verdict
        if reasons is not None and why:
            reasons.update({asked[place]: text for place, text in why.items()})
        return verdicts

    def compare(self, items: list[Comparison]) -> list[int | None]:
        """See `Judge.compare`."""
        instruction, schema = self.comparison
        calls = []
        for item in items:
            user = instructions.compare_user(item.prompt.text, item.first, item.second)
            calls.append(Call("compare", instruction, user, schema, item.seed))
        return self._ask("compare", calls, read_comparison)

    def safe(self, items: list[Judged]) -> list[bool | None]:
        """See `Judge.safe`."""
        instruction, schema = self.safety
        calls = []
        for item in items:
            user = instructions.safe_user(item.prompt.text, item.completion)
            calls.append(Call("safe", instruction, user, schema, item.seed))
        return self._ask("safe", calls, lambda text: read_verdict(text, "safety", SAFETY))

    def refine(self, items: list[Judged]) -> list[str | None]:
        """See `Judge.refine`. Two calls: the thought, then a summary of the new thought."""
        calls = []
        for item in items:
            instruction = instructions.in_language(instructions.REFINE, item.prompt.language)
            user = instructions.thought_user(item.prompt.text, thought_of(item.completion))
            calls.append(Call("refine", instruction, user, seed=item.seed))
        thoughts = {i: thought for i, thought in enumerate(self._ask("refine", calls, plain_text)) if thought}
        calls = []
        for i, thought in thoughts.items():
            instruction = instructions.in_language(instructions.SUMMARISE, items[i].prompt.language)
            user = instructions.thought_user(items[i].prompt.text, thought)
            calls.append(Call("summarise", instruction, user, seed=items[i].seed))
        refined: list[str | None] = [None] * len(items)
        for (i, thought), summary in zip(thoughts.items(), self._ask("summarise", calls, plain_text)):
            refined[i] = summary and f"<think>{thought}</think><answer>{summary}</answer>"
        return refined

    def answer(self, items: list[tuple[Prompt, int]]) -> list[str | None]:
        """See `Judge.answer`."""
        calls = [Call("answer", instructions.ANSWER, prompt.text, seed=seed) for prompt, seed in items]
        return self._ask("answer", calls, answer_text)

    def close(self) -> None:
        """See `Judge.close`."""
        self.model.close()

    def _ask(
        self, job: str, calls: list[Call], read: Callable[[str], Value | None], reasons: dict[int, str] | None = None
    ) -> list[Value | None]:
        """What `read` makes of each reply, or None; `reasons`, where given, gets why, by place in `calls`.

        Raises:
            JudgeUnavailable: What has come so far is in the cache. With `reasons` only where the judge cannot be asked
                at all, not for a call of its own trouble.
        """
        replies: list[Reply | None] = [None] * len(calls)
        missing: dict[str, list[int]] = {}  # key -> places of the calls that have it
        for i, call in enumerate(calls):
            key = self._key(call)
            if key not in missing and (reply := self.cache.get(key)) is not None:
                replies[i] = reply
                self.ledger.count(job, cached=1)
            else:
                missing.setdefault(key, []).append(i)
        self._ask_model(job, calls, missing, replies, reasons)
        values = [self._value(job, reply, read) if reply else None for reply in replies]
        if reasons is not None:
            for i, (reply, value) in enumerate(zip(replies, values)):
                if reply and value is None:
                    reasons[i] = why_none(reply, self.config.max_tokens)
        self.ledger.save()
        return values

    def _key(self, call: Call) -> str:
        config = self.config
        assert config.model is not None, "the configuration was checked: a language model has a name"
        return key_of(call, config.model, config.temperature, config.max_tokens, config.structured)

    def _ask_model(
        self,
        job: str,
        calls: list[Call],
        missing: dict[str, list[int]],
        replies: list[Reply | None],
        reasons: dict[int, str] | None,
    ) -> None:
        """Asks the model for one call of each missing key, and enters what comes in `replies`, cache and ledger."""
        keys = list(missing)

        def on_reply(place: int, reply: Reply) -> None:
            self.cache.put(keys[place], reply)
            self.ledger.count(
                job,
                calls=1,
                retries=reply.retries,
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=reply.completion_tokens,
            )
            for i in missing[keys[place]]:
                replies[i] = reply

        def on_failure(place: int, error: JudgeUnavailable) -> None:
            assert reasons is not None
            self.ledger.count(job, failed=1)
            reasons.update(dict.fromkeys(missing[keys[place]], str(error)))

        try:
            if keys:
                first = [calls[missing[key][0]] for key in keys]
                self.model.complete(first, on_reply, on_failure if reasons is not None else None)
        except JudgeUnavailable:
            self.ledger.count(job, failed=1)
            raise
        finally:
            self.ledger.save()

    def _value(self, job: str, reply: Reply, read: Callable[[str], Value | None]) -> Value | None:
        """What `read` makes of a reply; one that was refused, or that cannot be read, is counted."""
        if reply.text is None:
            self.ledger.count(job, refused=1)
            return None
        value = read("" if reply.is_cut and job in FREE_TEXT else reply.text)
        if value is None:
            self.ledger.count(job, unparsed=1)
        return value


def why_none(reply: Reply, max_tokens: int) -> str:
    """Why there is no verdict in a reply, in a sentence for people."""
    if reply.text is None:
        return f"the call was refused: {reply.problem}"
    cut = f", cut off at judge.max_tokens={max_tokens}" if reply.is_cut else ""
    return f"its verdict could not be read{cut}: {' '.join(reply.text.split())[:80]!r}"


def final_answer(completion: str) -> str:
    """What is judged of a completion: the marked answer, else what the reader sees; cut to what an answer can need."""
    answer = extract_answer(completion)
    return (answer if answer is not None else summary_of(completion)).strip()[:MAX_ANSWER_CHARACTERS]


def plain_text(text: str) -> str | None:
    """A text that can be put between our tags; None if it is empty or has tags of its own."""
    text = text.strip()
    has_tags = any(tag in text for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    return text if text and not has_tags else None


def answer_text(text: str) -> str | None:
    """A completion that is plain text, or a thought between its tags followed by plain text; None for others."""
    text = text.strip()
    if text.startswith("<think>") and text.count("<think>") == text.count("</think>") == 1:
        thought, summary = text.removeprefix("<think>").split("</think>")
        if not plain_text(thought) or not plain_text(summary):
            return None
        return f"<think>{thought.strip()}</think>{summary.strip()}"
    return plain_text(text)
