"""Prints logged rollouts of a stage: `python -m stages.logged_rollouts STAGE_DIRECTORY [OPTIONS]`.

The log holds tokens; their texts are made here, by the tokenizer and the template of the stage. It is a worker of the
command `rollouts`, as `chat/` is one of `chat`.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from stages.config import KINDS, GrpoConfig, from_dict
from stages.config.quoting import print_whatever_the_locale
from stages.contract import rollout_files
from stages.contract.description import StageDescription
from stages.contract.inputs import read_inputs
from stages.contract.records import DamagedRecords
from stages.runtime import environment
from stages.runtime.errors import InputError

EXIT_BAD_INPUT = 64
TOKENS = tuple(rollout_files.COLUMNS)  # left out of what is printed unless they are asked for
ORDERS: dict[str, Callable[[dict], float]] = {
    "log": lambda row: 0.0,
    "best": lambda row: -row["reward"],
    "worst": lambda row: row["reward"],
    "longest": lambda row: -num_tokens(row),
    "shortest": lambda row: num_tokens(row),
}


def main(arguments: list[str]) -> int:
    """Prints the rollouts that are asked for; returns the exit code."""
    print_whatever_the_locale()
    parser = argparse.ArgumentParser(prog="python -m stages.logged_rollouts", description=__doc__)
    parser.add_argument("directory", type=Path, help="of the stage")
    parser.add_argument("--step", type=int, help="by default the last one that is there")
    parser.add_argument("--number", type=int, default=4, help="rollouts to print; 0: all")
    parser.add_argument("--order", choices=ORDERS, default="log")
    parser.add_argument("--use", default="", help="only those with this use: train, keep or drop")
    parser.add_argument("--prompt", default="", help="only completions of the prompt with this id")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each")
    parser.add_argument("--tokens", action="store_true", help="token ids and logprobs too")
    options = parser.parse_args(arguments)
    environment.prepare()
    try:
        _print(options)
    except BrokenPipeError:  # `r1 rollouts r1_zero | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit fails nowhere
    except (InputError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_BAD_INPUT
    return 0


def _print(options: argparse.Namespace) -> None:
    there = rollout_files.logged_steps(options.directory / "rollouts")
    if not there:
        raise InputError(f"{options.directory} has no logged rollouts")
    step = there[-1] if options.step is None else options.step
    if step not in there:
        raise InputError(f"no rollouts of step {step} are kept; there are those of step {', '.join(map(str, there))}")

    def choose(rows: list[dict]) -> list[dict]:
        fitting = [row for row in rows if options.use in ("", row["use"]) and options.prompt in ("", prompt_id(row))]
        ordered = sorted(fitting, key=ORDERS[options.order])
        return ordered[: options.number or None]

    every, chosen = read(options.directory, step, choose)
    if not options.json:
        print(_summary(every, step, len(choose(every))))
    for row in chosen:
        shown = {name: value for name, value in row.items() if options.tokens or name not in TOKENS}
        print(json.dumps(shown, ensure_ascii=False) if options.json else _as_text(shown, num_tokens(row)), flush=True)


def read(
    directory: Path, step: int, choose: Callable[[list[dict]], list[dict]] = list
) -> tuple[list[dict], Iterator[dict]]:
    """As `rollout_files.read_plain`; each chosen rollout has its text too, as `completion`.

    Args:
        directory: of the stage.
        step: the first step that trained on the rollouts.
        choose: takes the rows of all and returns those that are wanted.

    Raises:
        InputError: the rollouts are missing or damaged, or nothing can make texts of them.
    """
    try:
        every, chosen = rollout_files.read_plain(directory / "rollouts", step, choose)
    except (FileNotFoundError, DamagedRecords) as error:
        raise InputError(f"the rollouts of step {step} cannot be read: {error}") from error
    return every, (_with_text(row, directory) for row in chosen)


def _with_text(row: dict, directory: Path) -> dict:
    """The row with `completion` behind its prompt; older logs have it."""
    if "completion" in row:
        return row
    text = texts_of(directory)(row["completion_ids"])
    return {"prompt": row["prompt"], "completion": text, **row}


@cache
def texts_of(directory: Path) -> Callable[[list[int]], str]:
    """What makes the text of a completion of its token ids, as the stage made it."""
    from stages.modeling.model import load_tokenizer
    from stages.prompting.encoding import Encoder

    description = StageDescription.read(directory)
    config: GrpoConfig = from_dict(KINDS[description.kind], description.config, f"stages.{description.stage}")
    places = [Path(read_inputs(directory)["policy"].model_dir or ""), directory / "model"]
    place = next((path for path in places if (path / "tokenizer_config.json").exists()), None)
    if place is None:
        raise InputError(
            f"the texts need a tokenizer, and neither {places[0]} nor {places[1]} has one: run the stage again, or ask "
            "rollout_files.read_plain for the tokens alone"
        )
    encoder = Encoder.of(config.data, load_tokenizer(place))
    return lambda ids: encoder.opening + encoder.decode([ids])[0]


def prompt_id(row: dict) -> str:
    """The id of a row's prompt."""
    return row["prompt_id"] if "prompt_id" in row else row["prompt"]["id"]


def num_tokens(row: dict) -> int:
    """Tokens of a row's completion."""
    return row["num_completion_tokens"] if "num_completion_tokens" in row else len(row["completion_ids"])


def _summary(rows: list[dict], step: int, num_shown: int) -> str:
    uses = ", ".join(f"{count} {use}" for use, count in Counter(row["use"] for row in rows).items())
    mean = sum(row["reward"] for row in rows) / len(rows) if rows else 0.0
    tokens = sum(map(num_tokens, rows))
    return (
        f"rollouts of step {step}: {len(rows)} completions of {tokens:,} tokens ({uses}), mean reward {mean:.3f}; "
        f"{num_shown} shown"
    )


def _as_text(row: dict, tokens: int) -> str:
    """A rollout for people."""
    prompt, parts = row["prompt"], ", ".join(f"{name} {value:.3g}" for name, value in row["reward_parts"].items())
    lines = [
        "",
        f"--- {prompt['id']} ({prompt['kind']}, {prompt['language']}), group {row['group']}, {row['use']}, sampled at "
        f"step {row['step']}",
        f"reward {row['reward']:.3g} ({parts}), advantage {row['advantage']:.3g}, {tokens} tokens"
        + (", cut at the limit" if row["is_truncated"] else ""),
        *([f"grader: {row['grader_error']}"] if row["grader_error"] else []),
        f"prompt: {prompt['text']}",
        *([f"reference: {prompt['answer']}"] if prompt["answer"] else []),
        f"completion: {row['completion']}",
        *_token_lines(row),
    ]
    return "\n".join(lines)


def _token_lines(row: dict) -> Iterator[str]:
    for name in TOKENS:
        if row.get(name) is not None:
            yield f"{name}: {row[name]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
