"""Run like `python -m stages STAGE_DIRECTORY`, with a sampler that is wrong in the way that BREAK names.

sync   the transformers engine takes new weights and keeps the old ones
head   vLLM reloads as its own API does: on CPUs the packed copy of a tied head stays stale
hang   the transformers engine never draws its third token
hold   the transformers engine never takes its fourth weights: the stage stays where it is until it is killed
reward the reward of the second group never comes
adapter  vLLM keeps the adapters that it has got first
half   the transformers engine computes in bf16 while the trainer does in fp32: wrong by a little, as on any GPU
"""

import itertools
import os
import sys
import threading

from stages import __main__ as worker_main
from tests.support.stage_dirs import end_process


def keep_the_old_weights(self, weights) -> None:
    list(weights)


def reload_only(self, weights) -> None:
    self.reload_weights(weights_iterator=iter(weights))


def break_sampler(how: str) -> None:
    from stages.engines.sampling.transformers_sampler import TransformersSampler
    from stages.engines.sampling.vllm_sampler import PolicyLoader

    if how == "sync":
        TransformersSampler.sync = keep_the_old_weights
    elif how == "head":
        PolicyLoader.load_policy = reload_only
    elif how == "hang":
        draw, calls = TransformersSampler._draw, itertools.count()
        TransformersSampler._draw = lambda self, *arguments: (
            draw(self, *arguments) if next(calls) < 2 else threading.Event().wait()
        )
    elif how == "hold":
        sync, syncs = TransformersSampler.sync, itertools.count()
        TransformersSampler.sync = lambda self, weights: (
            sync(self, weights) if next(syncs) < 3 else threading.Event().wait()
        )
    elif how == "reward":
        from stages.kinds.grpo.groups import GroupSampler

        grade, asked = GroupSampler._graded, itertools.count()
        GroupSampler._graded = lambda self, *arguments: (
            grade(self, *arguments) if next(asked) < 1 else threading.Event().wait()
        )
    elif how == "half":
        make = TransformersSampler.__init__
        TransformersSampler.__init__ = lambda self, config, model_dir, prompt, completion, precision, *more: make(
            self, config, model_dir, prompt, completion, "bf16", *more
        )
    elif how == "adapter":
        from stages.engines.sampling.vllm_adapter import VllmAdapter

        load, loads = VllmAdapter.load, itertools.count()
        VllmAdapter.load = lambda self, llm, weights: load(self, llm, weights) if next(loads) < 1 else list(weights)


if __name__ == "__main__":
    break_sampler(os.environ["BREAK"])
    end_process(worker_main.main(sys.argv[1:]))
