"""One stage of the real worker with the peak of its memory noted for each part of its work."""

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_common import write_result

PARTS = (  # (module, class or "", function, part of the work)
    ("stages.engines.finite", "", "require_finite_inputs", "look"),
    ("stages.modeling.model", "", "load_model", "load"),
    ("stages.kinds.grpo.reference", "Reference", "__init__", "reference"),
    ("stages.engines.training", "TrainEngine", "__init__", "engine"),
    ("stages.engines.sampling", "", "make_sampler", "sampler"),
    ("stages.kinds.grpo.trainer", "GrpoTrainer", "rollout", "rollout"),
    ("stages.kinds.grpo.update", "PolicyUpdate", "accumulate", "backward"),
    ("stages.engines.training", "TrainEngine", "step", "step"),
    ("stages.kinds.grpo.reference", "KeptReference", "refresh", "refresh"),
    ("stages.engines.saver", "Saver", "save", "save"),
    ("stages.engines.export", "", "export", "export"),
)


class Watch:
    """Resident memory of this process: its peak within each part, and what is left after it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.mark("libraries")

    def mark(self, part: str) -> None:
        """Ends an interval, names it, and begins the next one."""
        status = Path("/proc/self/status").read_text()
        row = {
            name: int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 2**20 for name in ("VmHWM", "VmRSS", "RssAnon")
        }  # type: ignore[index]
        self.rows.append({"part": part, "peak": row["VmHWM"], "after": row["VmRSS"], "anonymous": row["RssAnon"]})
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew

    def around(self, function: Callable, part: str) -> Callable:
        """The function, with its part of the work noted."""

        @functools.wraps(function)
        def noted(*values: Any, **named: Any) -> Any:
            self.mark("between")
            result = function(*values, **named)
            self.mark(part)
            return result

        return noted


def run_watched(options: Any, reward_of: Callable[[list[int], int], float], vocabulary: int) -> None:
    """`python -m stages DIRECTORY` with a reward that differs within every group, and a watch on the memory."""
    from stages.runtime import environment

    environment.prepare()
    from stages import __main__ as worker_main

    watch = Watch()
    for module_name, owner, name, part in PARTS:
        module = importlib.import_module(module_name)
        holder = getattr(module, owner) if owner else module
        before = getattr(holder, name)
        after = watch.around(before, part)
        setattr(holder, name, after)
        for other in list(sys.modules.values()) if not owner else []:  # that have imported it by name
            if getattr(other, "__name__", "").startswith("stages") and getattr(other, name, None) is before:
                setattr(other, name, after)
    from stages.kinds.grpo import groups as sampling

    def apply_rules(rollouts: Any, *_: Any) -> None:
        for r in rollouts:
            r.reward_parts = {"accuracy": reward_of(r.completion_ids, vocabulary), "format": 0.0, "language": 0.0}

    sampling.apply_rules = apply_rules
    watch.mark("imports")
    code = worker_main.main([options.worker])
    watch.mark("end")
    if code == 0:
        import torch

        peaks = {}
        if torch.cuda.is_available():
            peaks["torch_gib"] = torch.cuda.max_memory_reserved() / 2**30
        write_result(options.result, {"rows": watch.rows, **peaks})
    sys.stdout.flush()
    os._exit(code)
