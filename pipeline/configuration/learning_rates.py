"""Learning rates that follow the size of the model: what `${rate:KIND,NODE,OWN}` in a recipe stands for.

A recipe's rates are those of its own small model. Where a model from outside takes its place, a rate that nobody gave
is the one that is usual for that model's size (`stages/config/learning_rates.py`). An override of `optim.lr` replaces
the interpolation, and so counts as it stands.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from pipeline.configuration.model_directory import num_parameters
from stages.config import ModelConfig
from stages.config.learning_rates import usual_rate


def register() -> None:
    """Makes `${rate:...}` known to OmegaConf."""
    OmegaConf.register_new_resolver("rate", _resolve, replace=True)


def _resolve(kind: str, node: str, own: float, *, _root_: DictConfig) -> float:
    """The learning rate of a stage.

    Args:
        kind: of the stage, as grpo.
        node: where the model stands that is trained: model or student.
        own: the rate of the recipe's own model.
        _root_: the whole configuration, which OmegaConf gives.
    """
    model = _root_[node]
    return rate_for(kind, model.get("path"), model.get("revision"), own)


def rate_for(kind: str, path: Any, revision: Any, own: float) -> float:
    """The usual rate for the model in `path`; `own` where there is none, or one that plan will say is missing."""
    size = num_parameters(ModelConfig(path=path, revision=revision)) if isinstance(path, str) and path else 0
    return usual_rate(kind, size) if size else own


def rates_of_students(cfg: DictConfig) -> dict[str, float]:
    """The usual rate of each of several students from outside, where the recipe leaves that of `distill` to the size.

    Args:
        cfg: composed, not resolved yet.

    Returns:
        Name of the student -> the rate of its stage distill; without students that set one of their own.
    """
    optim = OmegaConf.select(cfg, "stages.distill.optim")
    if optim is None or not OmegaConf.is_interpolation(optim, "lr"):
        return {}
    rates = {}
    for name, student in (cfg.get("students") or {}).items():
        path = student.get("path") if isinstance(student, DictConfig) else None
        if path and OmegaConf.select(student, "distill.optim.lr") is None:
            rates[str(name)] = rate_for("sft", path, student.get("revision"), optim.lr)
    return rates


def give_students(tree: dict[str, Any], rates: dict[str, float]) -> None:
    """Writes the rates of students into a composed tree of plain data."""
    for name, rate in rates.items():
        distill = tree["students"][name].setdefault("distill", {})
        distill.setdefault("optim", {})["lr"] = rate
