"""Which learning rate is usual for a model of some size, and so which one is plainly too high.

A rate that suits a model of half a million parameters destroys one of a hundred million in two steps. Between the sizes
where we measured a rate, and up to where published ones take over, it falls as a power of the size:

    rate = at_135m * (135M / parameters) ** power, but at least `least` and at most 1e-3

| kind of stage | at 0.5M (the tiny recipe) | at 135M (SmolLM2) | power | least |
|---|---|---|---|---|
| RL | 7e-4 to 1e-3, measured | 1e-5, measured | 0.8 | 1e-6: open-r1 at 1.5B and 7B; 3e-6 in [N] |
| SFT | 5e-4 to 1e-3, measured | 1e-4, measured | 0.35 | 2e-5: Distill-Llama-70B [V2 Table 6] |
| reward models | 5e-4, measured | | 0.7 | 6e-6 [N] |

Adapters of low rank want ten times the rate of all weights, whatever their rank, at alpha 32 and the scale alpha / rank
(Schulman et al. 2025, "LoRA Without Regret", on models that are 1,024 wide or wider). In a narrow model less: a step of
B moves a weight by as much as the entries of A are large, which begin as 1 / sqrt(width). We measured 3 to 5 at a width
of 128 (docs/lora.md). Adapters of full rank train as the weights do.

The paper's own rates for SFT of 1.5B to 671B, 2e-5 to 1e-4, are up to four times these; they go with larger batches.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class RateOfSize:
    """How the usual rate of one kind of stage depends on the number of parameters."""

    at_135m: float
    power: float
    least: float


OF_KIND = {
    "grpo": RateOfSize(1e-5, 0.8, 1e-6),
    "sft": RateOfSize(1e-4, 0.35, 2e-5),
    "reward_models": RateOfSize(1e-5, 0.7, 6e-6),
}
MOST = 1e-3
OF_ADAPTERS, WIDE = 10.0, 1024  # the usual rate of adapters over that of all weights, from this width on
_MEASURED_SIZE = 135e6


def usual_rate(kind: str, num_parameters: float) -> float:
    """The usual peak learning rate of a kind of stage, with two significant digits.

    Args:
        kind: a key of OF_KIND.
        num_parameters: of the model that is trained; more than 0.

    >>> [usual_rate("grpo", size) for size in (0.5e6, 15e6, 135e6, 1.5e9, 7e9)]
    [0.00088, 5.8e-05, 1e-05, 1.5e-06, 1e-06]
    >>> [usual_rate("sft", size) for size in (0.5e6, 15e6, 135e6, 1.5e9, 70e9)]
    [0.00071, 0.00022, 0.0001, 4.3e-05, 2e-05]
    """
    of_kind = OF_KIND[kind]
    rate = of_kind.at_135m * (_MEASURED_SIZE / num_parameters) ** of_kind.power
    return float(f"{min(MOST, max(of_kind.least, rate)):.1e}")


def for_adapters(rate: float, rank: int, width: int) -> float:
    """The learning rate that does for adapters what `rate` does for all weights.

    Args:
        rate: of all weights.
        rank: of the adapters; 0: there are none.
        width: of the model; 0: not known.

    >>> [for_adapters(1e-6, rank, 1536) for rank in (0, 16, 1536)]
    [1e-06, 1e-05, 1e-06]
    >>> [for_adapters(1e-3, 16, width) for width in (0, 64, 128, 576, 1024)]
    [0.01, 0.0025, 0.0035, 0.0075, 0.01]
    """
    if rank <= 0 or rank == width:
        return rate
    factor = OF_ADAPTERS * min(1.0, (width / WIDE) ** 0.5) if width else OF_ADAPTERS
    return float(f"{rate * factor:.2g}")
