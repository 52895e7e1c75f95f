"""Holds `evaluate` against lm-evaluation-harness, on the same export and the same local problems, both greedy.

The verdicts must agree one by one. (Completions may part at a near tie of two tokens: the engines add up floats in
different orders.)

    python scripts/crosscheck_lm_eval.py MODEL_DIR [--problems 60] [--lm-eval-python PYTHON]
    python scripts/crosscheck_lm_eval.py MODEL_DIR --data problems.jsonl --examples examples.jsonl

Without --data the problems are those of the tiny world. With it they come from a file (prompt, answer), the export is
asked by its own chat template, and worked examples (prompt, completion) are earlier turns of the chat; both programs
render that themselves. An answer then counts in <think>...</think><answer>...</answer> only.

lm_eval is not a dependency of this project (pip install lm_eval, in an environment of its own whose Python is named
here). Its task is a YAML file and a JSONL file, written below; the export is read as it is. docs/evaluation.md has what
was seen.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MAX_TOKENS = 110
TASK_NAMES = {False: "tiny_math_local", True: "problems_local"}  # by whether there is a file of problems
TASK = """task: tiny_math_local
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: generate_until
doc_to_text: "User:{{{{prompt}}}}Assistant:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["<eos>"], do_sample: false, max_gen_toks: {max_tokens}}}
filter_list:
  - name: last_number
    filter: [{{function: regex, regex_pattern: "(-?[0-9]+)[^0-9]*$"}}, {{function: take_first}}]
metric_list: [{{metric: exact_match}}]
"""
CHAT_TASK = """task: problems_local
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
fewshot_delimiter: ""
num_fewshot: {num_examples}
fewshot_config: {{sampler: first_n, doc_to_target: "{{{{completion}}}}", samples: {examples}}}
generation_kwargs: {{until: [], do_sample: false, max_gen_toks: {max_tokens}}}
filter_list:
  - name: well_formed
    filter: [{{function: regex, regex_pattern: '{pattern}'}}, {{function: take_first}}]
metric_list: [{{metric: exact_match}}]
"""
# A template that opens the thought itself leaves the tag out of what the harness sees.
WELL_FORMED = r"^\s*{opening}(?:(?!</?think>|</?answer>)[\s\S])*</think>\s*<answer>\s*(-?[0-9]+)\s*</answer>\s*$"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--lm-eval-python", default=sys.executable)
    parser.add_argument("--data", type=Path, help="JSON lines with prompt and answer, an integer")
    parser.add_argument("--examples", type=Path, help="JSON lines with prompt and completion, with --data")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crosscheck_") as name:
        directory = Path(name)
        problems = write_problems(directory / "problems.jsonl", options)
        theirs = run_lm_eval(options, directory)
        ours = run_ours(options, directory)
    return compare(problems, theirs, ours)


def write_problems(path: Path, options: argparse.Namespace) -> list[dict]:
    from stages.worlds.tiny_world.sources import held_out_sets

    if options.data:
        rows = read_rows(options.data)[: options.problems]
    else:
        found = held_out_sets(options.problems, 1, 1)["tiny_math"]
        rows = [{"prompt": prompt.text, "answer": prompt.answer} for prompt in found]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return rows


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def opens_thought(model: Path) -> bool:
    """Whether the chat template of an export ends its prompts with <think>."""
    from transformers import AutoTokenizer

    chat = [{"role": "user", "content": "a"}]
    prompt: str = AutoTokenizer.from_pretrained(model).apply_chat_template(
        chat, add_generation_prompt=True, tokenize=False
    )
    return prompt.rstrip().endswith("<think>")


def task_of(options: argparse.Namespace, directory: Path) -> str:
    """The harness's description of the problems."""
    path = directory / "problems.jsonl"
    if not options.data:
        return TASK.format(path=path, max_tokens=options.max_tokens)
    examples = read_rows(options.examples) if options.examples else []
    return CHAT_TASK.format(
        path=path,
        max_tokens=options.max_tokens,
        num_examples=len(examples),
        examples=json.dumps(examples, ensure_ascii=False),
        pattern=WELL_FORMED.replace("{opening}", "" if opens_thought(options.model) else "<think>"),
    )


def run_lm_eval(options: argparse.Namespace, directory: Path) -> dict[str, tuple[str, bool]]:
    """{prompt: (completion, is right)} from its log of samples."""
    (directory / "task.yaml").write_text(task_of(options, directory))
    task = TASK_NAMES[options.data is not None]
    command = [
        options.lm_eval_python,
        "-m",
        "lm_eval",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={options.model},dtype=float32" + ("" if options.data else ",add_bos_token=True"),
        "--tasks",
        task,
        "--include_path",
        str(directory),
        "--device",
        "cpu",
        "--batch_size",
        "16",
        "--output_path",
        str(directory / "lm_eval"),
        "--log_samples",
    ]
    if options.data:
        command += ["--apply_chat_template", "--fewshot_as_multiturn", "true"]
    run(command)
    (path,) = (directory / "lm_eval").rglob(f"samples_{task}_*.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["doc"]["prompt"]: (row["resps"][0][0], bool(row["exact_match"])) for row in rows}


def run_ours(options: argparse.Namespace, directory: Path) -> dict[str, tuple[str, bool]]:
    """The same from the evaluate stage, by the export's own template; a temperature of 0.0001 is greedy."""
    run(
        [
            sys.executable,
            "-m",
            "pipeline",
            "evaluate",
            f"model={options.model}",
            "eval=own",
            f"data.path={directory / 'problems.jsonl'}",
            f"data.template={'chat' if options.data else 'plain'}",
            *([f"data.examples={options.examples}"] if options.examples else []),
            "data.verifier=integer",
            f"data.max_prompt_tokens={1024 if options.data else 32}",
            "data.eval_fraction=0.999999",
            f"runs_dir={directory / 'runs'}",
            "rollout.temperature=0.0001",
            "stages.evaluate.samples_per_prompt=1",
            f"stages.evaluate.max_completion_tokens={options.max_tokens}",
            f"stages.evaluate.num_reasoning={options.problems}",
            f"stages.evaluate.num_shown={options.problems}",
            "launcher.num_processes=1",
        ]
    )
    (path,) = (directory / "runs").glob("evaluate/evaluate/latest/samples.jsonl")
    return {
        row["prompt"]: (row["completion"], row["correct"])
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    }


def run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command[:4])} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        )


def compare(problems: list[dict], theirs: dict, ours: dict) -> int:
    """Prints what agrees.

    The harness strips the ends of a completion and may leave special tokens out, so texts are compared without white
    space and tags.
    """
    shared = [row["prompt"] for row in problems if row["prompt"] in ours and row["prompt"] in theirs]
    texts = sum(plain(theirs[prompt][0]) == plain(ours[prompt][0]) for prompt in shared)
    verdicts = [prompt for prompt in shared if theirs[prompt][1] != ours[prompt][1]]
    print(
        f"{len(shared)} shared problems: lm_eval {sum(theirs[p][1] for p in shared)} right, "
        f"ours {sum(ours[p][1] for p in shared)} right; {texts} completions are the "
        f"same, {len(verdicts)} verdicts differ"
    )
    for prompt in verdicts:
        print(f"  {prompt!r}\n    lm_eval {theirs[prompt]}\n    ours    {ours[prompt]}")
    return 0 if shared and not verdicts else 1


def plain(text: str) -> str:
    return re.sub(r"\s|</?(?:think|answer)>|<eos>|<\|im_end\|>", "", text)


if __name__ == "__main__":
    sys.exit(main())
