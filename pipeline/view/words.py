"""Amounts in words: durations, sizes, and the few numbers that tell how a stage went."""

import math
from collections.abc import Mapping

SHOWN_METRICS = (
    "reward/mean",
    "reward/accuracy",
    "completion/mean_tokens",
    "completion/language",
    "train/loss",
    "data/kept",
    "helpful/holdout_accuracy",
    "safety/holdout_accuracy",
    "data/samples",
)
MAX_NUMBERS = 4


def numbers(metrics: Mapping[str, float]) -> str:
    """The most telling numbers of a stage, four at most.

    An evaluation shows pass@1 of its last models, which are the furthest along the recipe; sets of general prompts
    are left out. Any other stage shows the first of `SHOWN_METRICS` that it has. What a stage had none of (NaN, such as
    the language of thoughts that are equations) is left out.

    >>> numbers({"train/loss": 0.12345, "reward/mean": 1.25, "data/samples": 2900})
    'reward/mean 1.25  train/loss 0.123  data/samples 2,900'
    >>> numbers({"reward/mean": 1.25, "completion/language": float("nan")})
    'reward/mean 1.25'
    """
    metrics = {name: value for name, value in metrics.items() if not math.isnan(value)}
    scores = [name for name in metrics if name.endswith("/pass@1") and not name.endswith("_general/pass@1")]
    known = [name for name in SHOWN_METRICS if name in metrics]
    chosen = scores[-MAX_NUMBERS:] or known[:MAX_NUMBERS] or list(metrics)[:MAX_NUMBERS]
    return "  ".join(f"{name} {amount(metrics[name])}" for name in chosen)


def amount(value: float) -> str:
    """A number as people write it: three digits that count, and no power of ten where a comma does.

    >>> [amount(value) for value in (2900, 0.87891, 44.2, 1234567.8, 0, 3e-6, float("nan"))]
    ['2,900', '0.879', '44.2', '1,234,568', '0', '3e-06', 'nan']
    """
    if math.isfinite(value) and (abs(value) >= 1000 or value == round(value)):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that fits; nothing for None.

    >>> [duration(seconds) for seconds in (0.4, 7.4, 60, 125, 900, 4800, 7500, 270_000, None)]
    ['0.4 s', '7 s', '1 min', '2 min 05 s', '15 min', '1 h 20 min', '2 h 05 min', '3.1 days', '']
    """
    if seconds is None:
        return ""
    if 0.05 <= seconds < 0.95:
        return f"{seconds:.1f} s"
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min" + (f" {seconds % 60:02d} s" if seconds < 600 and seconds % 60 else "")
    if seconds < 48 * 3600:
        minutes = seconds % 3600 // 60
        return f"{seconds // 3600} h" + (f" {minutes:02d} min" if minutes else "")
    return f"{seconds / 86400:,.1f} days"


def size(num_bytes: float) -> str:
    """Bytes in the binary unit that fits.

    >>> [size(num_bytes) for num_bytes in (512, 3_565_158, 1_288_490_189)]
    ['512 B', '3.4 MiB', '1.2 GiB']
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"
