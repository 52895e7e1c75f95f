"""Dropout of all kinds off: what a policy computes in training is then what its sampler computed."""

import re
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)

# attention_dropout, resid_pdrop, layerdrop, drop_path_rate, router_jitter_noise, ...
RANDOM = re.compile(r"drop|jitter")


def rates_of(model: "PreTrainedModel") -> list[str]:
    """The names of what the configuration of a model says of dropout, and does not set to 0."""
    config = model.config.get_text_config().to_dict()
    return sorted(name for name, value in config.items() if isinstance(value, float) and value and RANDOM.search(name))


def has_dropout(module: nn.Module) -> bool:
    """Whether a module leaves something out at random in training: by layers of dropout, or rates of its own."""
    return any(
        (isinstance(part, LAYERS) and part.p > 0)
        or any(isinstance(value, float) and value and RANDOM.search(name) for name, value in vars(part).items())
        for part in module.modules()
    )


def turn_off_dropout(model: "PreTrainedModel") -> None:
    """Sets the dropout of a loaded model to 0: layers of dropout, and what modules keep as rates of their own.

    Its configuration stays as it is, and so does that of its export.
    """
    for module in model.modules():
        if isinstance(module, LAYERS):
            module.p = 0.0
        _set_rates_to_zero(module)


def turn_off_dropout_of_config(config: "PretrainedConfig") -> None:
    """Sets the dropout in a configuration to 0, for families that look there in every forward pass."""
    _set_rates_to_zero(config)
    text = config.get_text_config()
    if text is not config:
        _set_rates_to_zero(text)


def _set_rates_to_zero(holder: object) -> None:
    for name, value in list(vars(holder).items()):
        if isinstance(value, float) and RANDOM.search(name):
            setattr(holder, name, 0.0)
