"""Learning rates that follow the size of the model: what `${rate:KIND,NODE,OWN,RANK}` in a recipe stands for.

A recipe's rates are those of its own small model. Where a model from outside takes its place, a rate that nobody gave
is the one that is usual for that model's size (`stages/config/learning_rates.py`). An override of `optim.lr` replaces
the interpolation, and so counts as it stands.

RANK is that of the stage's adapters, `${..lora.rank}`: adapters want another rate than all weights. A recipe for models
of a known size writes `${rate_of:RATE,RANK}`: this rate for all weights, or what does the same for adapters.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from pipeline.configuration.model_directory import num_parameters, width_of
from stages.config import ModelConfig
from stages.config.learning_rates import for_adapters, usual_rate


def register() -> None:
    """Makes `${rate:...}` and `${rate_of:...}` known to OmegaConf."""
    OmegaConf.register_new_resolver("rate", _resolve, replace=True)
    OmegaConf.register_new_resolver("rate_of", _resolve_fixed, replace=True)


def _resolve_fixed(rate: float, rank: int, *, _root_: DictConfig) -> float:
    """A learning rate of all weights, or what does the same for the adapters of the base model."""
    model = _root_["model"]
    return _with_adapters(rate, rank, model.get("path"), model.get("revision"), model.get("hidden_size"))


def _resolve(kind: str, node: str, own: float, rank: int = 0, *, _root_: DictConfig) -> float:
    """The learning rate of a stage.

    Args:
        kind: of the stage, as grpo.
        node: where the model stands that is trained: model or student.
        own: the rate of the recipe's own model.
        rank: of the adapters; 0: all weights are trained.
        _root_: the whole configuration, which OmegaConf gives.
    """
    model = _root_[node]
    path, revision = model.get("path"), model.get("revision")
    return _with_adapters(rate_for(kind, path, revision, own), rank, path, revision, model.get("hidden_size"))


def _with_adapters(rate: float, rank: Any, path: Any, revision: Any, hidden_size: Any) -> float:
    """The rate for adapters of a rank on a model; that of all weights where there are none."""
    if not isinstance(rank, int) or rank <= 0:
        return rate
    is_own = not (isinstance(path, str) and path)
    width = hidden_size if is_own else width_of(ModelConfig(path=path, revision=revision))
    return for_adapters(rate, rank, width)


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
            own = OmegaConf.select(student, "distill.lora.rank")
            rank = OmegaConf.select(cfg, "stages.distill.lora.rank") if own is None else own
            revision = student.get("revision")
            rates[str(name)] = _with_adapters(rate_for("sft", path, revision, optim.lr), rank, path, revision, 0)
    return rates


def give_students(tree: dict[str, Any], rates: dict[str, float]) -> None:
    """Writes the rates of students into a composed tree of plain data."""
    for name, rate in rates.items():
        distill = tree["students"][name].setdefault("distill", {})
        distill.setdefault("optim", {})["lr"] = rate
