"""Adapters of low rank (LoRA): what is trained in the place of all weights."""

from typing import Literal

from stages.config.fields import Bool, Checked, Float, Int, config_class, setting

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM 0.32: the sizes that it has room for


@config_class
class LoraConfig(Checked):
    """Low-rank adapters beside the weights (Hu et al. 2021, arXiv 2106.09685), made by peft.

    A layer W of the model computes W x + (alpha / rank) B A x. Only A and B are trained; B starts at zero.
    """

    rank: Int = setting(
        0,
        "Rank of the adapters, at most the width of the model; 0: all weights are trained. At the width an adapter is "
        "no longer low-rank: it then trains exactly as the layer itself would, at the learning rate of all weights.",
        unit="rank",
        ge=0,
    )
    alpha: Float = setting(32.0, "Scale of the adapters: B A is multiplied by alpha / rank.", unit="none", gt=0)
    dropout: Float = setting(
        0.0,
        "Share of an adapter's inputs that is zeroed in training. With it the trainer's log-probabilities are not "
        "those of the policy that was sampled.",
        unit="share",
        ge=0,
        lt=1,
    )
    targets: list[str] = setting(
        [],
        "Linear layers that get adapters, each by the end of its name, as q_proj or layers.0.mlp.up_proj; empty: all "
        "linear layers of the decoder, but no head, router or embedding.",
    )
    whole: list[str] = setting(
        [],
        "Modules that are trained whole beside the adapters, each by the end of its name, as lm_head or norm. The "
        "head of a reward model always is.",
    )
    rslora: Bool = setting(
        False, "Scale by alpha / sqrt(rank), so that large ranks learn as fast as small ones (arXiv 2312.03732)."
    )
    dora: Bool = setting(
        False,
        "Train the length of each row of a weight apart from its direction (arXiv 2402.09353); about twice as slow.",
    )
    quantize: Literal["none", "4bit"] = setting(
        "none", "4bit: the weights below the adapters are kept in 4 bits (QLoRA, arXiv 2305.14314), on a GPU only."
    )
    sampler: Literal["merged", "adapter"] = setting(
        "merged",
        "How the sampler gets the policy. merged: the weights with the adapters added, at each sync; adapter: vLLM "
        "adds the adapters itself.",
    )

    @property
    def is_on(self) -> bool:
        """Whether adapters are trained, and not all weights."""
        return self.rank > 0

    def mistakes(self) -> list[str]:
        """DoRA needs whole weights."""
        if not (self.is_on and self.dora and self.quantize != "none"):
            return []
        return ["dora does not go with quantize: its lengths are those of whole weights; set one of them back"]

    def idle(self) -> dict[str, str]:
        """Everything, where there are no adapters."""
        names = ("alpha", "dropout", "targets", "whole", "rslora", "dora", "quantize", "sampler")
        return {} if self.is_on else dict.fromkeys(names, "rank=0: all weights are trained")


def ends_with(name: str, wanted: str) -> bool:
    """Whether the dotted name of a module ends with the dotted name `wanted`.

    >>> ends_with("model.layers.0.mlp.up_proj", "up_proj"), ends_with("model.layers.10.mlp", "0.mlp")
    (True, False)
    """
    return f".{name}".endswith(f".{wanted}")


def vllm_rank(rank: int) -> int:
    """The smallest room of vLLM that holds adapters of this rank; the rank itself where none does.

    >>> vllm_rank(4), vllm_rank(16), vllm_rank(600)
    (8, 16, 600)
    """
    return next((room for room in VLLM_RANKS if room >= rank), rank)
