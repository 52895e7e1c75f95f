"""Models for training, each rank keeping only what DeepSpeed will leave it.

Under ZeRO 3 every tensor is divided over the ranks as soon as it is read, on the device, and the next one is read after
that. transformers reads, renames, merges and checks as it always does. (With `HfDeepSpeedConfig` it has another way to
load under ZeRO 3. That one holds all files and the merged experts of all layers at once, and reports neither tensors
that are unexpected nor shapes that are wrong.)

At ZeRO 0 to 2 each rank trains a whole copy. On a GPU a policy's tensors go there one by one. On a CPU the weights are
the memory-mapped files, which the ranks of a machine share, until a step changes them; of files in another precision
each rank makes a copy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages.config import DeepSpeedConfig, OptimConfig
from stages.engines.training import deepspeed_settings, init_distributed
from stages.modeling.loading import require_loadable
from stages.modeling.model import load_model
from stages.modeling.patches import dividing_what_is_read
from stages.modeling.ready import own_device
from stages.modeling.reward_model import load_reward_model
from stages.runtime.errors import InputError
from stages.runtime.host_memory import giving_back

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_policy(model_dir: Path | str, config: DeepSpeedConfig, quantize: str = "none") -> "PreTrainedModel":
    """Loads a causal LM to train, or to be the reference of one. Collective under ZeRO 3.

    Args:
        model_dir: An HF directory.
        config: Says how it is divided, and its precision.
        quantize: none, or 4bit: `lora.quantize`.

    Raises:
        InputError: The directory has no such model, or not all of it; four bits under ZeRO 3.
    """
    if config.zero_stage == 3:
        require_loadable(model_dir)  # compares tied weights, which cannot be compared once they are parts
    device = own_device()
    is_sent = device.type != "cpu" and config.zero_stage < 3  # under ZeRO 3 what divides a tensor sends the part
    with dividing(config, quantize):
        return load_model(model_dir, config.precision, quantize, device if is_sent else None)


def load_scorer(model_dir: Path, pad: int, config: DeepSpeedConfig, quantize: str = "none") -> "PreTrainedModel":
    """Loads a causal LM as a reward model with a new head. Collective under ZeRO 3; the arguments are as above."""
    with dividing(config, quantize):
        return load_reward_model(model_dir, pad, is_new=True, quantize=quantize)


@contextmanager
def dividing(config: DeepSpeedConfig, quantize: str = "none") -> Iterator[None]:
    """Within the block what transformers loads is divided as it is read, under ZeRO 3. Collective then."""
    if config.zero_stage != 3:
        yield
        return
    if quantize != "none":
        raise InputError(
            f"lora.quantize={quantize}: ZeRO 3 cannot divide weights of 4 bits: use deepspeed=zero2, or "
            "lora.quantize=none"
        )
    init_distributed()
    with giving_back(), dividing_what_is_read(deepspeed_settings(config, OptimConfig())):
        yield
