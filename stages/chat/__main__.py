"""The worker of the command `chat`: `python -m stages.chat MODEL_DIR [MODEL_DIR ...] [--prompt TEXT]`.

By default a model's own chat template is put around each prompt. Several models answer side by side.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stages.chat import paint
from stages.chat.conversation import Conversation
from stages.chat.model import ChatModel, Sampling
from stages.contract.exit_codes import BAD_INPUT
from stages.runtime import environment
from stages.runtime.errors import InputError

INTERRUPTED = 130  # what a shell makes of Ctrl-C


def main(arguments: Sequence[str]) -> int:
    """Answers one prompt, what comes through a pipe, or what people type; returns the exit code."""
    options = parse(arguments)
    try:
        conversation = _conversation(options)
        if options.prompt is not None:
            conversation.ask(options.prompt)
        elif sys.stdin.isatty():
            conversation.with_people()
        else:
            conversation.with_a_pipe()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `r1 chat | head -1`: nobody reads the rest
        sys.stderr.close()
        return 0
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m stages.chat", description=__doc__)
    parser.add_argument("model_dirs", type=Path, nargs="+", metavar="MODEL_DIR")
    parser.add_argument("--name", action="append", default=[], help="what to call a model, once for each")
    parser.add_argument("--prompt", help="answer this one prompt and end")
    parser.add_argument(
        "--template",
        action="append",
        default=[],
        help="how the prompt is put before the model, once for each: plain, r1_zero, chat, or a file FILE.jinja; auto: "
        "by the chat template of its tokenizer, plain where it has none",
    )
    parser.add_argument("--system", default="", help="what the model is told before every prompt")
    parser.add_argument("--thinking", choices=["auto", "on", "off"], default="auto", help="a switch of chat templates")
    parser.add_argument("--turns", type=int, help="how many earlier turns a model is shown")
    parser.add_argument("--known", action="append", default=[], help="a prompt to offer")
    parser.add_argument("--temperature", type=float, default=0.6, help="0: the most likely token every time")
    parser.add_argument(
        "--max-tokens", type=int, default=0, help="most tokens of an answer; 0: what the context leaves"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def _conversation(options: argparse.Namespace) -> Conversation:
    """Loads the models. Raises InputError where one cannot be used."""
    started = time.monotonic()
    environment.prepare()
    from transformers.utils import logging

    logging.disable_progress_bar()
    names = options.name or [str(directory) for directory in options.model_dirs]
    templates = options.template or ["auto"] * len(options.model_dirs)
    models = [
        ChatModel(directory, name, template, options.system, options.thinking)
        for directory, name, template in zip(options.model_dirs, names, templates, strict=True)
    ]
    paint.note(f"ready after {time.monotonic() - started:.0f} s")
    sampling = Sampling(options.temperature, options.max_tokens, options.seed)
    return Conversation(models, sampling, options.known, options.turns)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
