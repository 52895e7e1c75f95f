"""The talk itself: prompts from people or a pipe, the commands among them, and the turns that models remember."""

import contextlib
import sys
from collections.abc import Iterator, Sequence

from stages.chat import paint
from stages.chat.model import ChatModel, Sampling, Turn
from stages.runtime.errors import InputError

HELP = (
    "/1, /2, ... ask a prompt from the list, /prompts shows it, /new forgets the earlier turns, "
    "an empty line or Ctrl-D ends the chat, Ctrl-C stops an answer"
)


class Conversation:
    """One or more models that are asked the same; each has its own earlier turns."""

    def __init__(self, models: Sequence[ChatModel], sampling: Sampling, known: Sequence[str], num_turns: int | None):
        """Takes the models.

        Args:
            models: Who answers.
            sampling: How tokens are drawn.
            known: Prompts of the run, to choose from.
            num_turns: How many earlier turns a model is shown; None: all of a chat, none of a model that was trained
                on single prompts.
        """
        self.models, self.sampling, self.known, self.num_turns = models, sampling, known, num_turns
        self.turns: list[list[Turn]] = [[] for _ in models]

    def ask(self, words: str) -> None:
        """Prints what the models answer. Raises InputError where one cannot be asked this."""
        for model in self.models:
            for warning in model.warnings(words):
                paint.note(f"({warning})")
        streams = [
            model.stream(words, self._remembered(model, turns), self.sampling, paint.note)
            for model, turns in zip(self.models, self.turns)
        ]
        if len(streams) > 1:
            paint.show_side_by_side([model.name for model in self.models], streams)
        else:
            paint.show(streams[0])
        for stream, turns in zip(streams, self.turns):
            turns.append((words, stream.text))

    def _remembered(self, model: ChatModel, turns: list[Turn]) -> list[Turn]:
        num_turns = self.num_turns
        if num_turns is None:
            return [] if model.is_of_one_prompt else turns
        return turns[-num_turns:] if num_turns else []

    def with_people(self) -> None:
        """Asks what is typed, until an empty line or the end of the input."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  # its import gives `input` a history and editing
        self._show_known()
        paint.note(HELP)
        for line in typed_lines():
            try:
                self._obey(line)
            except InputError as error:
                paint.note(f"error: {error}")
            except KeyboardInterrupt:
                print(paint.PLAIN if paint.has_colours() else "", flush=True)

    def with_a_pipe(self) -> None:
        """Asks each line of the input that is not empty, and prints nothing but the answers."""
        for line in sys.stdin:
            if line.strip():
                self.ask(line.strip())

    def _obey(self, line: str) -> None:
        """Does what a line says: a command, or a prompt."""
        if line == "/new":
            self.turns = [[] for _ in self.models]
            paint.note("earlier turns are forgotten")
        elif line == "/prompts":
            self._show_known()
        elif line == "/help":
            paint.note(HELP)
        elif line[1:].isdecimal() and line.startswith("/"):
            number = int(line[1:])
            if not 1 <= number <= len(self.known):
                paint.note(f"error: there is no prompt {number}; the list has {len(self.known)}")
                return
            print(f"> {self.known[number - 1]}")
            self.ask(self.known[number - 1])
        else:
            self.ask(line)

    def _show_known(self) -> None:
        if self.known:
            paint.note("prompts that this run's models know:")
        for number, prompt in enumerate(self.known, 1):
            paint.note(f"  /{number}  {' '.join(prompt.split())}")


def typed_lines() -> Iterator[str]:
    """The lines that are typed, until an empty one, Ctrl-D, or Ctrl-C where no answer is being given."""
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not line:
            return
        yield line
