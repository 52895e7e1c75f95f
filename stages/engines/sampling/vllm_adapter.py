"""The policy as an adapter that vLLM adds to the base by itself: written to a directory, and read in place of the last.

vLLM reads adapters from files only. They are a thousandth of the model, so it takes milliseconds.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.config.lora import vllm_rank
from stages.engines.adapter_files import peft_names, write_adapter
from stages.modeling.adapters import Adapters

if TYPE_CHECKING:
    from vllm import LLM
    from vllm.lora.request import LoRARequest

MERGED_WAY_OUT = "use lora.sampler=merged"
NAME, NUMBER = "policy", 1  # of the only adapter


class VllmAdapter:
    """The adapter of one engine.

    Args:
        adapters: The trainer's.
        model_dir: Their base, whose weights the engine has loaded.
    """

    def __init__(self, adapters: Adapters, model_dir: Path):
        self.adapters, self.base = adapters, str(model_dir)
        self._kept = tempfile.TemporaryDirectory(prefix="r1-adapter-")
        self.directory = Path(self._kept.name)

    def settings(self) -> dict[str, Any]:
        """The arguments of vLLM's LLM that make room for it."""
        return {
            "enable_lora": True,
            "max_lora_rank": vllm_rank(self.adapters.config.rank),
            "max_loras": 1,
            "max_cpu_loras": 1,
        }

    def load(self, llm: "LLM", weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Gives the engine these weights in the place of those before. `weights`: as `TrainEngine.adapter_weights`."""
        write_adapter(self.directory, self.adapters, peft_names(weights), self.base)
        if not llm.llm_engine.add_lora(self.request(is_new=True)):
            raise RuntimeError("vLLM kept its adapter of the step before at a sync")

    def request(self, is_new: bool = False) -> "LoRARequest":
        """What a request names to be drawn with the adapter; `is_new`: its files are to be read again."""
        from vllm.lora.request import LoRARequest

        return LoRARequest(NAME, NUMBER, str(self.directory), load_inplace=is_new)

    def close(self) -> None:
        """Removes the directory."""
        self._kept.cleanup()
