"""The linear layers of a model as the headers of its weight files tell: what adapters can go on.

The worker asks the model itself (stages/modeling/adapters.py). This is for `plan`, which loads no torch: it finds names
that no layer has and matrices that are smaller than a rank, and counts what adapters add.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.contract.files import find_json
from stages.contract.model_directory import EMBEDDING, LAYER, read_tensors, text_config

HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output)\.weight$")
EXPERT = re.compile(r"\.experts?\.|\.experts$")  # modules of all experts together, which no linear layer is
ROUTER = re.compile(r"(?:^|\.)(?:gate|router|gate\.wg|shared_expert_gate)$")

# What the kernels of state-space layers read past the layer itself, where an adapter would do nothing. peft refuses it.
READ_BY_KERNELS = {
    "mamba": {"out_proj"},
    "mamba2": {"out_proj"},
    "falcon_mamba": {"out_proj"},
    "falcon_h1": {"out_proj"},
}


@dataclass(frozen=True)
class Layer:
    """One matrix of a model that an adapter can go on."""

    name: str  # of the module, as model.layers.0.self_attn.q_proj
    rows: int
    columns: int
    is_in_block: bool = True  # one of the numbered layers; else the head or an embedding

    @property
    def width(self) -> int:
        """The largest rank that a change of this matrix can have."""
        return min(self.rows, self.columns)

    @property
    def kind(self) -> str:
        """The last part of the name, which people give as a target."""
        return self.name.rpartition(".")[2]

    def is_target(self, target: str) -> bool:
        """Whether peft takes this layer where `target` is named."""
        return self.name == target or self.name.endswith(f".{target}")


def linear_layers(directory: Path) -> list[Layer]:
    """The matrices of a model directory that are linear layers, its embeddings and its head.

    Routers and the experts of a layer are left out: transformers makes one tensor of the experts, and peft's adapters
    for linear layers do not go on that.

    Raises:
        BadWeights: A file is missing or damaged.
        OSError: A file cannot be read.
    """
    layers, unused = [], read_by_kernels(directory)
    for name, entry in read_tensors(directory).items():
        if not name.endswith(".weight") or len(entry.shape) != 2:
            continue
        module = name.removesuffix(".weight")
        in_block = LAYER.search(name) is not None
        if EXPERT.search(module) or ROUTER.search(module) or module.rpartition(".")[2] in unused:
            continue
        if in_block or EMBEDDING.search(name) or HEAD.search(name):
            layers.append(Layer(module, *entry.shape, is_in_block=in_block))
    return layers


def read_by_kernels(directory: Path) -> set[str]:
    """The kinds of layers of a model directory in which an adapter would do nothing."""
    config: Any = find_json(directory / "config.json")
    family = config.get("model_type") if isinstance(config, dict) else None
    return READ_BY_KERNELS.get(family, set()) if isinstance(family, str) else set()


def llama_layers(
    hidden_size: int, intermediate_size: int, num_layers: int, num_heads: int, num_kv_heads: int, vocabulary: int
) -> list[Layer]:
    """The same of the recipe's own base, which is a Llama, before it is trained."""
    width_of_keys = hidden_size // num_heads * num_kv_heads
    shapes = {
        "self_attn.q_proj": (hidden_size, hidden_size),
        "self_attn.k_proj": (width_of_keys, hidden_size),
        "self_attn.v_proj": (width_of_keys, hidden_size),
        "self_attn.o_proj": (hidden_size, hidden_size),
        "mlp.gate_proj": (intermediate_size, hidden_size),
        "mlp.up_proj": (intermediate_size, hidden_size),
        "mlp.down_proj": (hidden_size, intermediate_size),
    }
    blocks = [Layer(f"model.layers.{i}.{name}", *shape) for i in range(num_layers) for name, shape in shapes.items()]
    ends = [Layer(name, vocabulary, hidden_size, is_in_block=False) for name in ("model.embed_tokens", "lm_head")]
    return [*blocks, *ends]


def is_tied(directory: Path, layers: list[Layer]) -> bool:
    """Whether the head of a model directory is its embedding: its configuration says so, or it has no other head."""
    config: Any = find_json(directory / "config.json")
    config = config if isinstance(config, dict) else {}
    said = config.get("tie_word_embeddings", text_config(config).get("tie_word_embeddings"))
    return said is True or not any(HEAD.search(f"{layer.name}.weight") for layer in layers)
