"""What it costs that nothing is lost: the tiny recipe's own stages with and without their rollout log and checkpoints.

    python scripts/bench_durability.py                             # r1_zero and base, a checkpoint after every step and
                                                                   as the recipe says
    python scripts/bench_durability.py --stages r1_zero --steps 20 --repeats 3

    nothing       no rollout log, no checkpoints
    log           the rollout log
    recipe        the rollout log, checkpoints as the recipe says
    each          a checkpoint after every step, written while training goes on
    each, waits   the same, and training waits for it

All run one after the other, again and again; a number is the mean between two logged steps, the median over the
repeats, the first steps left out: by the clock, and of processor time, which says more on a machine that has other
work. Checkpoints are written to --work: measure on the disk that the runs will be on.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from scripts.bench_common import run_side, write_result, write_stage  # noqa: E402

NEVER, WARMUP = 10**9, 3
MODES = {
    "nothing": {"save_every": NEVER, "save_every_minutes": 0.0},
    "log": {"save_every": NEVER, "save_every_minutes": 0.0},
    "recipe": {},
    "each": {"save_every": 1},
    "each, waits": {"save_every": 1, "save_in_background": False},
}
STEPS = {"base": 120, "r1_zero": 20}


def work(options: argparse.Namespace) -> None:
    """The real worker of one stage; rank 0 notes when it logged each step."""
    from stages.runtime import environment

    environment.prepare()
    import importlib

    from stages.__main__ import KIND_MODULES
    from stages.runtime.worker import Worker
    from stages.training.rollout_log import RolloutLog

    if options.mode == "nothing":
        RolloutLog.write = lambda *_: None
    log_step, moments = Worker.log_step, []

    def timed(self, step, metrics):
        moments.append((time.perf_counter(), time.process_time()))
        log_step(self, step, metrics)

    Worker.log_step = timed
    with Worker(options.worker) as worker:
        importlib.import_module(KIND_MODULES[worker.kind]).run(worker)
    if worker.exit_code:
        raise SystemExit(worker.exit_code)
    wall_s, cpu_s = ((last - first) / (len(moments) - WARMUP) for first, last in zip(moments[WARMUP - 1], moments[-1]))
    write_result(options.result, {"wall_s": wall_s, "cpu_s": cpu_s})


def configurations(stages: list[str], sampler: str) -> dict[str, tuple[str, dict]]:
    """{stage: (kind, plain configuration)} of the tiny recipe."""
    from pipeline.configuration import compose, spelling
    from pipeline.configuration.graph import build
    from stages.config import to_dict

    config = compose.compose_config(spelling.rewrite([f"+stage=[{','.join(stages)}]", f"rollout={sampler}"]))
    nodes = build(config).nodes
    return {stage: (nodes[stage].kind, to_dict(getattr(config.stages, stage))) for stage in stages}


def measure(
    stage: str, kind: str, config: dict, mode: str, inputs: dict[str, Path], options: argparse.Namespace, name: str
) -> dict:
    """Seconds a step: by the clock, and of the processors that all ranks used."""
    directory = write_stage(
        options.work / name, kind, {**config, **MODES[mode], "num_steps": options.steps or STEPS[stage]}, inputs
    )
    ranks = run_side(
        Path(__file__), ["--worker", str(directory), "--mode", mode], directory / "result.json", options.processes, 1
    )
    if not inputs and mode == "recipe":
        shutil.copytree(
            directory / "model", options.work / "base_model", dirs_exist_ok=True
        )  # what the RL stage starts from
    shutil.rmtree(directory)
    return {"wall_s": ranks[0]["wall_s"], "cpu_s": sum(rank["cpu_s"] for rank in ranks)}


def ratio(seconds: dict[str, list[dict]], mode: str, name: str) -> str:
    """The median, what it is of the first mode's, and every value."""
    value, first = (statistics.median(row[name] for row in seconds[which]) for which in (mode, next(iter(seconds))))
    return (
        f"{value:.4f} s a step, {value / first:.3f} of {next(iter(seconds))} "
        f"{[round(row[name], 4) for row in seconds[mode]]}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", default="base,r1_zero", help="of base and r1_zero; the base is made in any case")
    parser.add_argument("--modes", default=";".join(MODES), help="the first is what the others are compared with")
    parser.add_argument("--steps", type=int, default=0, help="0: 120 for base, 20 for r1_zero")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sampler", choices=("vllm", "transformers"), default="transformers")
    parser.add_argument("--work", type=Path, help="where to work, on the disk to measure")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return 0
    options.work = Path(options.work or tempfile.mkdtemp(prefix="bench_durability_")).resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    chosen = options.stages.split(",")
    configs = configurations(["base", "r1_zero"], options.sampler)
    print(f"{options.processes} process(es), load {os.getloadavg()[0]:.1f} at the start, disk of {options.work}")
    if "base" not in chosen:
        measure("base", *configs["base"], "recipe", {}, argparse.Namespace(**{**vars(options), "steps": 200}), "base")
    for stage in chosen:
        modes = [mode for mode in options.modes.split(";") if stage != "base" or mode != "log"]
        seconds: dict[str, list[dict]] = {mode: [] for mode in modes}
        for repeat in range(options.repeats):
            for mode in modes:
                inputs = {} if stage == "base" else {"policy": options.work / "base_model"}
                seconds[mode].append(measure(stage, *configs[stage], mode, inputs, options, f"{stage}_{repeat}"))
        for mode in modes:
            wall, cpu = (ratio(seconds, mode, name) for name in ("wall_s", "cpu_s"))
            print(f"{stage:8} {mode:12} by the clock {wall}; processor time {cpu}", flush=True)
    shutil.rmtree(options.work)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # engines leave threads behind
