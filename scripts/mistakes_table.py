"""Writes the table of docs/ux.md: typical mistakes, and what each prints. A test compares it with what is there.

    python scripts/mistakes_table.py            writes the table into docs/ux.md
    python scripts/mistakes_table.py --check    exits with 1 where docs/ux.md says something else

No engine is started: every mistake is found before that.
"""

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "ux.md"
BEGIN, END = "<!-- begin: scripts/mistakes_table.py -->", "<!-- end: scripts/mistakes_table.py -->"
SHOWN = ("error ", "  fix: ", "a run refuses")  # lines of the output that are about the mistake; else its notes
WIDEST = 420  # characters of a line that is shown

# (what went wrong, the command line; DIR is a directory with the files that `_files` writes)
MISTAKES = [
    ("A key that does not exist", "r1 plan stages.r1_zero.optim.lrr=1e-6"),
    ("A key in the wrong place", "r1 plan group_size=8"),
    ("A word of TRL", "r1 plan learning_rate=1e-6"),
    ("Another word of TRL", "r1 plan vllm_gpu_memory_utilization=0.7"),
    ("A key of verl", "r1 plan actor_rollout_ref.actor.optim.lr=1e-6"),
    ("Another key of verl", "r1 plan data.train_batch_size=1024"),
    ("A flag of other programs", "r1 run +stage=all --learning_rate 1e-6"),
    ("A file of arguments", "r1 run --config recipe.yaml"),
    ("A key with dashes", "r1 run +stage=all --seed 3"),
    ("A value of another type", "r1 plan seed=one"),
    ("A value out of range", "r1 plan stages.r1_zero.optim.lr=7"),
    ("A choice that does not exist", "r1 plan stages.r1_zero.loss=gpro"),
    ("A stage that does not exist", "r1 run +stage=r1zero"),
    ("No stage", "r1 run seed=1"),
    ("An option of a group that does not exist", "r1 plan deepspeed=zero4"),
    ("Several values without a sweep", "r1 run +stage=r1_zero stages.r1_zero.beta=0,0.1"),
    ("A path with a comma", "r1 plan data.path=DIR/a,b.jsonl"),
    ("A list without its end", "r1 plan stages.r1_zero.max_completion_tokens=[[0,64]"),
    ("A reference to nothing", "r1 plan 'runs_dir=${scratch}'"),
    ("A word without a value", "r1 plan seed"),
    ("A flag that does not exist", "r1 plan --jsno"),
    ("A slip in a student's name", "r1 plan student@students.small=tiny students.smal.distill.num_epochs=1"),
    ("A key that nothing reads", "r1 plan eval.tiny.num_problems=16 eval=tiny"),
    ("A key of a stage that is not planned", "r1 plan +stage=base stages.distill.num_epochs=1"),
    ("A model that is not there", "r1 plan model.path=DIR/model"),
    ("A data file that is not there", "r1 plan +stage=r1_zero model.path=DIR/small data.path=DIR/missing.jsonl"),
    ("Columns with other names", "r1 plan +stage=r1_zero model.path=DIR/small data.path=DIR/columns.jsonl"),
    (
        "Answers that the verifier cannot read",
        "r1 plan +stage=r1_zero model.path=DIR/small data.path=DIR/answers.jsonl data.verifier=integer",
    ),
    (
        "Prompts over the limit",
        "r1 plan +stage=r1_zero model.path=DIR/small data.path=DIR/long.jsonl data.max_prompt_tokens=64 "
        "data.template=plain",
    ),
    ("A prompt and a completion that do not fit", "r1 plan '+stage=[base,r1_zero]' model.max_positions=128"),
    ("A stage before what it is made from", "r1 plan +stage=cold_start"),
    ("A GPU that is not there", "r1 plan launcher=gpu"),
    ("A directory that cannot be made", "r1 plan runs_dir=DIR/small/config.json"),
    ("A sweep by a number that there is not", "r1 plan +stage=base +sweep=seeds sweep.metric=train/los"),
    ("Data of which no row can be used", "r1 data inspect data.path=DIR/columns.jsonl"),
]


def main(arguments: list[str]) -> int:
    """Writes the table, or compares it."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    new = f"{head}{BEGIN}\n\n{table()}\n{END}{tail}"
    if "--check" in arguments:
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def table() -> str:
    """What each mistake prints, as Markdown."""
    with tempfile.TemporaryDirectory() as directory, _surroundings(Path(directory)):
        _files(Path(directory))
        return "\n".join(_entry(number, *mistake, directory) for number, mistake in enumerate(MISTAKES, 1))


def _entry(number: int, what: str, line: str, directory: str) -> str:
    words = [word.replace("DIR", directory) for word in shlex.split(line)[1:]]
    code, text = _in_process(words) if words[0] == "data" else _called(words)
    lines = [one.replace(directory, "DIR") for one in text.splitlines()]
    shown = [one for one in lines if one.startswith(SHOWN)] or [one for one in lines if one.startswith("note: ")]
    shown = [one if len(one) <= WIDEST else f"{one[:WIDEST]}..." for one in shown]
    return f"**{number}. {what}** (exit code {code})\n\n```\n$ {line}\n" + "\n".join(shown) + "\n```\n"


def _called(words: list[str]) -> tuple[int, str]:
    """(exit code, output) of a command in this process, which is much faster than one of its own."""
    from pipeline.__main__ import main as carry_out

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = carry_out(words)
    return code, output.getvalue()


def _in_process(words: list[str]) -> tuple[int, str]:
    """The same of a command that reads data, which starts a process."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "pipeline", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    return done.returncode, done.stdout


@contextlib.contextmanager
def _surroundings(directory: Path) -> Iterator[None]:
    """A machine without GPUs and without models in a cache, and a directory without runs."""
    from pipeline.planning import devices
    from pipeline.view.console import standard_console

    before, place, there = dict(os.environ), Path.cwd(), devices.DEVICES
    (directory / "dev").mkdir()
    os.environ |= {"COLUMNS": "120", "HF_HUB_CACHE": str(directory / "hub"), "XDG_CACHE_HOME": str(directory / "cache")}
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    devices.DEVICES = directory / "dev"
    os.chdir(directory)
    standard_console.cache_clear()
    try:
        yield
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)
        devices.DEVICES = there
        standard_console.cache_clear()


def _files(directory: Path) -> None:
    """Rows with typical defects, and a directory that looks like a small model."""
    rows = {
        "columns": [{"question": f"what is {i}+{i}?", "target": str(2 * i)} for i in range(20)],
        "answers": [{"prompt": f"what is {i}+{i}?", "answer": "about 7" if i == 3 else str(2 * i)} for i in range(20)],
        "long": [{"prompt": "a" * (200 if i == 3 else 9), "answer": str(i)} for i in range(20)],
    }
    for name, many in rows.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many), encoding="utf-8")
    _model(directory / "small")


def _model(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    path.mkdir()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(path / "tokenizer.json"))
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "eos_token_id": 0, "vocab_size": 256,
              "hidden_size": 64, "num_attention_heads": 2, "max_position_embeddings": 4096}  # fmt: skip
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "F32", "shape": [256, 64], "data_offsets": [0, 65536]}})
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(65536))


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    sys.exit(main(sys.argv[1:]))
