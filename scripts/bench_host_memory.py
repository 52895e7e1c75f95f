"""Unshared host memory of each rank at load, refresh, checkpoint, export and resume, against what a rank should hold.

    python scripts/bench_host_memory.py [--zero 3] [--stored bf16] [--ranks 2] [--out FILE]

A random Llama (112M parameters, trained in fp32) is loaded with its reference, refreshed, saved, exported and verified
on ranks of their own, without an optimizer step. Unshared memory (USS) is Private_Clean + Private_Dirty of
/proc/self/smaps_rollup, less what the process had before, looked at every 20 ms: the peak of each part and what stays.
On a CPU the device's memory is the host's, so what a rank trains counts too. `--plain` loads as up to release 0.1:
whole on every rank.
"""

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20
SMALL = {"hidden_size": 20, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
SHAPE = {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 14, "num_attention_heads": 10}


def unshared_mib() -> float:
    """Memory that this process shares with no other."""
    with open("/proc/self/smaps_rollup") as stream:
        fields = dict(line.split()[:2] for line in stream if line.startswith("Private_"))
    return (int(fields["Private_Clean:"]) + int(fields["Private_Dirty:"])) / 1024


class Meter:
    """Peaks of unshared memory in named parts of a program."""

    def __init__(self) -> None:
        gc.collect()
        self.start = unshared_mib()
        self.found: dict[str, dict[str, float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measures a block: memory at its beginning, its peak and its end, all over that of the start."""
        before, peaks, is_over = unshared_mib(), [0.0], threading.Event()

        def watch() -> None:
            while not is_over.wait(0.02):
                peaks.append(unshared_mib())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            is_over.set()
            watcher.join()
        gc.collect()
        after = unshared_mib()
        values = {"before": before, "peak": max(*peaks, before, after), "after": after}
        self.found[name] = {key: value - self.start for key, value in values.items()}


def write_model(directory: Path, stored: str, shape: dict[str, int]) -> None:
    """Writes a random model with a tokenizer, in several files."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from stages.worlds.tiny_world.tokenizer import build_tokenizer

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=32_000, **shape, tie_word_embeddings=True)
    model = LlamaForCausalLM(config).to(torch.bfloat16 if stored == "bf16" else torch.float32)
    model.save_pretrained(directory, max_shard_size="100MB")
    build_tokenizer().save_pretrained(directory)


def work(options: argparse.Namespace) -> None:
    """What each rank does."""
    from stages.runtime import environment

    environment.prepare()
    import torch.distributed as dist

    from stages.config import DeepSpeedConfig, OptimConfig
    from stages.engines import saver
    from stages.engines.checkpoint import newest_checkpoint
    from stages.engines.training import TrainEngine, init_distributed
    from stages.kinds.grpo.reference import Reference
    from stages.modeling.model import load_model, load_tokenizer
    from stages.modeling.ready import ready_policy

    init_distributed()
    work_dir, config = Path(options.work), DeepSpeedConfig(zero_stage=options.zero)
    model_dir, rank = work_dir / "model", dist.get_rank()
    tokenizer = load_tokenizer(model_dir)

    def load(directory: Path):
        if options.plain:
            return load_model(directory, "fp32")
        from stages.engines.loading import load_policy

        return load_policy(directory, config)

    small = ready_policy(load(work_dir / "small"), tokenizer, "auto", "fp32", print)  # imports what loading needs
    TrainEngine(small, OptimConfig(), config, num_steps=2)
    dist.barrier()
    meter = Meter()
    with meter.part("load"):
        model = load(model_dir)
        dist.barrier()
    with meter.part("trials"):
        policy = ready_policy(model, tokenizer, "auto", "fp32", print)
        dist.barrier()
    num_parameters = sum(getattr(p, "ds_numel", p.numel()) for p in policy.parameters())
    with meter.part("engine"):
        engine = TrainEngine(policy, OptimConfig(), config, num_steps=2)
        del model, policy
        dist.barrier()
    with meter.part("reference"):
        reference = Reference(model_dir, config, work_dir / "references")
        dist.barrier()
    with meter.part("refresh"):
        reference.refresh(engine, 1)
        dist.barrier()
    checkpoint = work_dir / "state" / "step_000001"
    with meter.part("checkpoint"):
        if rank == 0:
            checkpoint.mkdir(parents=True)
        dist.barrier()
        table = saver.write_parts(checkpoint, engine.parts(checkpoint, is_copied=True))
        dist.barrier()
    tables: list = [None] * dist.get_world_size()
    dist.all_gather_object(tables, table)
    if rank == 0:
        from stages.contract import files

        files.write_json(checkpoint / "progress.json", {"step": 1})
        everything = {name: entry for one in tables for name, entry in one.items()}
        files.write_json(checkpoint / "manifest.json", {"files": everything})
    dist.barrier()
    with meter.part("export"):
        engine.export(tokenizer, work_dir / "export")
        dist.barrier()
    bytes_read = count_bytes_read(lambda: newest_checkpoint(_Listener(work_dir)))
    found = {"rank": rank, "parts": meter.found, "size_mib": 4 * num_parameters / MIB, "verified_mib": bytes_read / MIB}
    (work_dir / f"rank{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # as the workers end: no library's thread holds it up


class _Listener:
    """What `newest_checkpoint` asks of a worker."""

    def __init__(self, directory: Path):
        self.dir, self.say = directory, print


def count_bytes_read(function) -> int:
    """Bytes of the files whose checksums a function takes."""
    from stages.contract import files

    sizes, sha256 = [], files.sha256

    def counted(path: Path) -> str:
        sizes.append(path.stat().st_size)
        return sha256(path)

    files.sha256 = counted
    assert function() is not None, "no checkpoint was found whole"
    files.sha256 = sha256
    return sum(sizes)


def table(results: list[dict], ranks: int) -> str:
    """The results as Markdown."""
    size = results[0]["size_mib"]
    lines = [
        f"Weights in fp32: {size:.0f} MiB, {size / ranks:.0f} a rank if divided.",
        "",
        "| MiB of USS, "
        + ", ".join(f"rank {r['rank']}" for r in results)
        + " | before | peak | peak over before | after |",
        "|---|---|---|---|---|",
    ]
    for name in results[0]["parts"]:
        rows = [result["parts"][name] for result in results]
        cells = [", ".join(f"{row[key]:.0f}" for row in rows) for key in ("before", "peak", "after")]
        over = ", ".join(f"{row['peak'] - row['before']:.0f}" for row in rows)
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {over} | {cells[2]} |")
    verified = ", ".join(f"{result['verified_mib']:.0f}" for result in results)
    return "\n".join([*lines, "", f"Verified on resume: {verified} MiB."])


def main() -> None:
    """Starts the ranks and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zero", type=int, default=3)
    parser.add_argument("--stored", choices=["fp32", "bf16"], default="bf16", help="type of the weights on the disk")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="load whole on every rank, as it was before")
    parser.add_argument("--work", help="where a directory for the model and its copies is made; it goes at the end")
    parser.add_argument("--out", type=Path, help="where the table goes too")
    options = parser.parse_args()
    if "RANK" in os.environ:
        work(options)
        return
    directory = Path(tempfile.mkdtemp(prefix="host_memory_", dir=options.work))
    write_model(directory / "small", options.stored, SMALL)
    write_model(directory / "model", options.stored, SHAPE)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={options.ranks}"]
    arguments = [__file__, "--work", str(directory), "--zero", str(options.zero), *["--plain"] * options.plain]
    subprocess.run(launch + arguments, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    results = [json.loads((directory / f"rank{rank}.json").read_text()) for rank in range(options.ranks)]
    text = table(results, options.ranks)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
