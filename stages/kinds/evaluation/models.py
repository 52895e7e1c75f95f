"""One sampler for all suites of a model, and for the next model too where only the weights differ."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from stages.config import EvaluateConfig
from stages.contract import files
from stages.engines.sampling import Sampler
from stages.engines.sampling.check import check_sampler, make_checked_sampler
from stages.modeling.loading import require_loadable
from stages.runtime.errors import InputError

# Keys of config.json that no engine depends on.
OF_ONE_MODEL = ("_name_or_path", "transformers_version", "eos_token_id", "bos_token_id", "pad_token_id")


class Engine:
    """Holds the sampler of the model in use: `use` a model directory, and `close` at the end."""

    def __init__(self, config: EvaluateConfig):
        self.config = config
        self.sampler: Sampler | None = None
        self.shape: dict | None = None
        self.max_prompt_tokens = self.max_tokens = 0

    def use(self, model_dir: Path, max_prompt_tokens: int, max_tokens: int) -> Sampler:
        """Gives a sampler with this model's weights.

        Args:
            model_dir: The HF directory.
            max_prompt_tokens: The longest prompt, tokens.
            max_tokens: The longest sequence, prompt and completion together, tokens.
        """
        shape = shape_of(model_dir)
        fits = shape == self.shape and max_prompt_tokens <= self.max_prompt_tokens and max_tokens <= self.max_tokens
        if self.sampler is not None and fits and self.config.rollout.is_vllm:
            require_loadable(model_dir)
            shortest = min(max_prompt_tokens, max_tokens - max_prompt_tokens)
            # a model whose weights cannot be exchanged gets an engine of its own
            with contextlib.suppress(InputError):
                self.sampler.sync(weights_of(model_dir))
                check_sampler(self.sampler, self.config.rollout, model_dir, shortest, self.config.precision)
                return self.sampler
        self.close()
        self.sampler = make_checked_sampler(
            self.config.rollout,
            model_dir,
            max_prompt_tokens,
            max_tokens - max_prompt_tokens,
            self.config.precision,
            stop_ids=[],  # each set gives its own: they follow the template
        )
        self.shape, self.max_prompt_tokens, self.max_tokens = shape, max_prompt_tokens, max_tokens
        return self.sampler

    def close(self) -> None:
        """Ends the sampler, if there is one."""
        if self.sampler is not None:
            self.sampler.close()
            self.sampler = None


def shape_of(model_dir: Path) -> dict:
    """What two models must share to use one engine: all of config.json but names and special tokens."""
    return {key: value for key, value in files.read_json(model_dir / "config.json").items() if key not in OF_ONE_MODEL}


def weights_of(model_dir: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Reads (name, tensor) from a model directory's safetensors, one layer after the other."""
    from safetensors import safe_open

    places: dict[str, Path] = {}
    index = model_dir / "model.safetensors.index.json"
    if index.exists():
        places = {name: model_dir / file for name, file in files.read_json(index)["weight_map"].items()}
    else:  # of several files, as of a directory that has other formats too, the one that transformers reads
        whole = model_dir / "model.safetensors"
        for path in [whole] if whole.exists() else sorted(model_dir.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                places |= dict.fromkeys(file.keys(), path)
    for name in sorted(places, key=_layer_order):
        with safe_open(places[name], "pt") as file:
            yield name, file.get_tensor(name)


def _layer_order(name: str) -> list:
    """A sort key that puts layers.2 before layers.10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
