"""What the benchmarks share.

Every side gets the same model, the sides run one at a time in processes of their own, and medians are taken after
warm-up.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import stages  # noqa: F401  (first: hides a torchvision build that does not match torch)
from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput, write_inputs

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {  # of the random Llama; heads of 32 and 64: vLLM has kernels for both on the CPU
    "tiny": {
        "vocab_size": 256,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "86m": {
        "vocab_size": 32000,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 9,
        "num_attention_heads": 12,
        "num_key_value_heads": 6,
        "tie_word_embeddings": True,
    },
    "smollm2": {  # SmolLM2-135M, with random weights
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
}
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


def make_model(shape: str, directory: Path) -> Path:
    """A random Llama and a tokenizer of one token a word: w4 w5 ..."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    size = SHAPES[shape]["vocab_size"]
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *(f"w{i}" for i in range(len(SPECIAL), size))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
    ).save_pretrained(directory)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def write_stage(directory: Path, kind: str, config: dict, inputs: dict[str, Path]) -> Path:
    """Writes a stage directory for the real worker.

    `inputs` maps a role to an HF model directory, or to a directory with data/train.parquet.
    """
    directory.mkdir(parents=True)
    sources = {
        role: StageInput(path=str(path), model_dir=None if role == "data" else str(path), fingerprint="0")
        for role, path in inputs.items()
    }
    write_inputs(directory, sources)
    StageDescription(stage="bench", kind=kind, fingerprint="0", run="bench", config=config).write(directory)
    return directory


def matmul_flops(config, num_tokens: int, num_scored: int, longest: int) -> float:
    """FLOPs of the matrix products of one forward pass.

    Matrices act on every token, the head on scored tokens, attention on half of the square.
    """
    d, layers = config.hidden_size, config.num_hidden_layers
    kv = d * config.num_key_value_heads // config.num_attention_heads
    body = layers * (2 * d * d + 2 * d * kv + 3 * d * config.intermediate_size)
    return 2 * (num_tokens * (body + layers * d * longest) + num_scored * d * config.vocab_size)


def matmul_rate(seconds: float = 2.0, size: int = 2048) -> float:
    """FLOP/s of a square fp32 product in this process, with its threads."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        a @ b
        count += 1
    return 2 * size**3 * count / (time.perf_counter() - started)


def peak_gib() -> float:
    """Largest resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run_side(
    script: Path, arguments: list[str], result: Path, num_processes: int, threads: int, timeout_s: int = 1800
) -> list[dict]:
    """Runs one side alone, under torchrun when it has several ranks, and returns the JSON of each rank.

    Raises with the end of its output.
    """
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
        if num_processes > 1
        else []
    )
    process = subprocess.Popen(
        [sys.executable, *launcher, str(script), *arguments, "--result", str(result)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)},
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
    paths = [result.with_suffix(f".{rank}.json") for rank in range(num_processes)]
    if process.returncode or not all(path.exists() for path in paths):
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}\n{output[-4000:]}")
    return [json.loads(path.read_text()) for path in paths]


def write_result(result: str, value: dict) -> None:
    Path(result).with_suffix(f".{os.environ.get('RANK', '0')}.json").write_text(json.dumps(value))


def median(rows: list[dict], name: str) -> float:
    return statistics.median(row.get(name, 0.0) for row in rows)


def quartiles(rows: list[dict], name: str) -> str:
    values = sorted(row[name] for row in rows)
    return f"{values[len(values) // 4]:.2f}-{values[(3 * len(values)) // 4]:.2f}"
