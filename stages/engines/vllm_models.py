"""Which models vLLM can sample from on this machine, as far as their config.json tells before an engine starts.

What only an engine finds out (a kernel that is missing, weights that it does not take) is found by the probe of the
first rollouts, see `stages/engines/sampling/check.py` and `stages/kinds/grpo/probe.py`.
"""

from pathlib import Path

from stages.contract import files
from stages.contract.head_sizes import wrong_heads
from stages.engines import patches
from stages.runtime.errors import InputError

WAY_OUT = "use rollout=transformers"


def require_vllm(model_dir: Path | str, on_gpu: bool) -> None:
    """Raises InputError, with the way out, for a model that vLLM cannot sample from on this machine."""
    why = why_not_vllm(model_dir, on_gpu)
    if why is not None:
        raise InputError(f"the model in {model_dir} {why}: {WAY_OUT}")


def why_not_vllm(model_dir: Path | str, on_gpu: bool, looks_at_code: bool = True) -> str | None:
    """Why vLLM cannot sample from a model directory; None where nothing speaks against it.

    Args:
        model_dir: An HF directory.
        on_gpu: Whether vLLM would run on a GPU.
        looks_at_code: Whether transformers is imported (1 s) where vLLM has no code of its own for the architecture.

    Returns:
        What goes on after "the model".
    """
    try:
        config = files.read_json(Path(model_dir) / "config.json")
    except (OSError, ValueError):
        return None  # whoever loads the model says what is wrong
    architectures = config.get("architectures") or []
    known = patches.vllm_architectures()
    is_unknown = known and architectures and not known & set(architectures)
    if is_unknown and looks_at_code and not any(map(_has_code_for_vllm, architectures)):
        return f"is a {architectures[0]}, for which vLLM has no code, nor can it run transformers' code in its place"
    return None if on_gpu else wrong_heads(config.get("text_config") or config)


def _has_code_for_vllm(architecture: str) -> bool:
    """Whether vLLM can run transformers' code of an architecture."""
    import transformers

    model_class = getattr(transformers, architecture, None)
    return model_class is not None and patches.vllm_can_run_code_of(model_class)


def prepare_vllm(on_gpu: bool) -> None:
    """Mends vLLM where it would go wrong in the trainer's process; to be called before an engine is made."""
    patches.share_model_classes()
    if not on_gpu:
        patches.inspect_models_in_process()
        patches.repack_experts()
        patches.rotate_heads_by_torch()
        patches.divide_models_over_gloo()
