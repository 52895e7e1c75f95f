"""Amounts in words: durations, sizes, and the few numbers that tell how a stage went."""

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
    are left out. Any other stage shows the first of `SHOWN_METRICS` that it has.

    >>> numbers({"train/loss": 0.12345, "reward/mean": 1.25})
    'reward/mean 1.25  train/loss 0.123'
    """
    scores = [name for name in metrics if name.endswith("/pass@1") and not name.endswith("_general/pass@1")]
    known = [name for name in SHOWN_METRICS if name in metrics]
    chosen = scores[-MAX_NUMBERS:] or known[:MAX_NUMBERS] or list(metrics)[:MAX_NUMBERS]
    return "  ".join(f"{name} {metrics[name]:.3g}" for name in chosen)


def duration(seconds: float | None) -> str:
    """Seconds in the unit that fits; nothing for None.

    >>> [duration(seconds) for seconds in (7, 200, 7500, 270_000, None)]
    ['7 s', '3 min 20 s', '2 h 05 min', '3.1 days', '']
    """
    if seconds is None:
        return ""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min" + (f" {seconds % 60:02d} s" if seconds < 600 else "")
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
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
