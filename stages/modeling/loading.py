"""Model directories from disk into memory, verified: what is missing, misnamed or damaged is an InputError, not noise.

transformers fills what a checkpoint lacks with random weights and goes on. Here everything that the model's class
expects has to be there, in its shape, and nothing else. Whether the weights are numbers is asked before a stage begins
(`require_finite_inputs` in stages/engines/finite.py).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.contract.files import find_json
from stages.contract.inputs import StageInput
from stages.contract.model_directory import listed, model_problems, read_tensors
from stages.modeling.quantized import forget_quantizer, loading_options
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Tensors that checkpoints carry along and that no policy needs: value heads, layers that predict several tokens, and
# tables that models make themselves (of older checkpoints: causal masks, frequencies, positions).
NOT_NEEDED = re.compile(
    r"(^|\.)(v_head|value_head|mtp|mtp_layers)\."
    r"|(^|\.)(inv_freq|masked_bias|position_ids)$"
    r"|(^|\.)(attn|attention)\.(bias|causal_mask)$"
)

Keys = list[str]
loadable: set[str] = set()  # directories that this process has found whole


def load_causal_lm(
    directory: Path | str, dtype: torch.dtype, in_four_bits: bool = False, device: torch.device | None = None
) -> "PreTrainedModel":
    """Loads a causal LM from safetensors: no pickles, and no code that comes with a model.

    Args:
        directory: Of the model.
        dtype: Of its weights.
        in_four_bits: Whether its linear layers are packed as they are read (stages/modeling/quantized.py).
        device: Where its tensors go, one by one; None: host memory.

    Raises:
        InputError: The directory has no such model, or not all of it; the message names files and tensors.
    """
    from transformers import AutoModelForCausalLM

    require_directory(directory)
    options: dict[str, Any] = {"device_map": {"": device}} if device is not None else {}
    if in_four_bits:
        options = loading_options(dtype)
    model = _load(AutoModelForCausalLM.from_pretrained, directory, dtype=dtype, check=_nothing_but_the_model, **options)
    if in_four_bits:
        forget_quantizer(model)
    loadable.add(str(directory))
    return model


def load_classifier(
    directory: Path | str, dtype: torch.dtype, has_head: bool, in_four_bits: bool = False
) -> "PreTrainedModel":
    """Loads a sequence classifier with one output.

    Args:
        directory: Of the classifier, or of the causal LM that it starts from.
        dtype: Of its weights.
        has_head: Whether the directory has the classifier's head; else the head is new, and drawn at random.
        in_four_bits: As for `load_causal_lm`.

    Raises:
        InputError: As `load_causal_lm`.
    """
    from transformers import AutoModelForSequenceClassification

    require_directory(directory, is_classifier=has_head)
    check = _nothing_but_the_model if has_head else _all_but_the_head
    load = AutoModelForSequenceClassification.from_pretrained
    options = loading_options(dtype) if in_four_bits else {}
    model = _load(load, directory, dtype=dtype, check=check, num_labels=1, **options)
    if in_four_bits:
        forget_quantizer(model)
    return model


def require_directory(directory: Path | str, is_trained: bool = True, is_classifier: bool = False) -> None:
    """Raises InputError unless the files of a model directory are whole (stages/contract/model_directory.py)."""
    if not Path(directory).is_dir():
        raise InputError(f"no usable model in {directory}: there is no such directory")
    problems = model_problems(Path(directory), is_trained, is_classifier)
    if problems:
        raise InputError(f"no usable model in {directory}: {'; '.join(problems)}")


def require_outside_models(inputs: Iterable[StageInput]) -> None:
    """Raises InputError where a model that no stage has made is not whole, or of a kind that transformers knows not.

    It comes before anything else that a stage does, and reads no weights.
    """
    from transformers import AutoConfig

    for source in inputs:
        if source.stage is None and source.model_dir is not None:
            require_directory(source.model_dir)
            with loading_errors(source.model_dir):
                AutoConfig.from_pretrained(source.model_dir, trust_remote_code=False)


def require_loadable(directory: Path | str) -> None:
    """Raises InputError unless a causal LM can be loaded whole; loads no weights.

    For engines that load by themselves: vLLM does not say what a checkpoint lacks.
    """
    from transformers import AutoModelForCausalLM

    if str(directory) in loadable:
        return
    require_directory(directory, is_trained=False)
    if "quantization_config" not in find_json(Path(directory) / "config.json"):  # else the names are the quantiser's
        _load(AutoModelForCausalLM.from_pretrained, directory, check=_nothing_but_the_model, device_map="meta")
    loadable.add(str(directory))


def _load(
    load: Callable[..., Any],
    directory: Path | str,
    check: Callable[["PreTrainedModel", Keys, Keys], tuple[Keys, Keys]],
    **options: Any,
) -> "PreTrainedModel":
    """Loads, and raises InputError for what `check` leaves of (missing, unexpected) keys, and for wrong shapes."""
    with loading_errors(directory):
        model, found = load(
            directory,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in what is found, with all others, and not the first that fails
            **options,
        )
    missing, unexpected = check(model, sorted(found["missing_keys"]), sorted(found["unexpected_keys"]))
    problems = []
    if missing:
        problems.append(f"{len(missing)} tensors that {type(model).__name__} needs are missing: {listed(missing)}")
    if unexpected:
        problems.append(f"{len(unexpected)} tensors are not of {type(model).__name__}: {listed(unexpected)}")
    shapes = [f"{name} is {list(has)}, not {list(needs)}" for name, has, needs in sorted(found["mismatched_keys"])]
    if shapes:
        problems.append(f"{len(shapes)} tensors have another shape than config.json says: {listed(shapes)}")
    problems += found["error_msgs"]
    if problems:
        raise InputError(
            f"the weights in {directory} are not those of its config.json: {'; '.join(problems)}. What is missing "
            "would be random: get the model again, or give the config.json that belongs to the weights"
        )
    _require_true_ties(model, directory)
    return model


def _nothing_but_the_model(model: "PreTrainedModel", missing: Keys, unexpected: Keys) -> tuple[Keys, Keys]:
    config = model.config.get_text_config()
    first = getattr(config, "num_hidden_layers", None)
    count = getattr(config, "num_nextn_predict_layers", None)  # DeepSeek-V3: layers after the last that is run
    more = [f"layers.{first + i}." for i in range(count)] if first and count else []
    return missing, [n for n in unexpected if not NOT_NEEDED.search(n) and not any(part in n for part in more)]


def _all_but_the_head(model: "PreTrainedModel", missing: Keys, unexpected: Keys) -> tuple[Keys, Keys]:
    """A classifier that starts from a causal LM: its head is new, and the head of the LM is left out."""
    body = f"{model.base_model_prefix}."
    missing, unexpected = _nothing_but_the_model(model, missing, unexpected)
    return [name for name in missing if name.startswith(body)], [n for n in unexpected if n.startswith(body)]


def _require_true_ties(model: "PreTrainedModel", directory: Path | str) -> None:
    """Raises InputError where config.json ties head and embeddings, but the weights have two that differ.

    transformers would keep both, and vLLM only the embeddings.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    of_head, of_embedding = getattr(head, "weight", None), getattr(embedding, "weight", None)
    if of_head is None or of_embedding is None or of_head is of_embedding:
        return
    if not model.config.get_text_config().tie_word_embeddings:
        return
    if of_head.is_meta and _are_equal_on_disk(model, (of_head, of_embedding), Path(directory)):
        return
    raise InputError(
        f"config.json in {directory} says tie_word_embeddings, but the weights have a head and embeddings that "
        "differ: set tie_word_embeddings to false in config.json"
    )


def _are_equal_on_disk(model: "PreTrainedModel", weights: tuple, directory: Path) -> bool:
    """Whether two parameters that were not read have the same values in the files."""
    from safetensors import safe_open

    names = [name for name, parameter in model.named_parameters() if any(parameter is weight for weight in weights)]
    entries = read_tensors(directory)
    values = []
    for name in names:
        if name not in entries:
            return True  # there is one of the two, or both have other names there
        with safe_open(directory / entries[name].file, framework="pt") as file:
            values.append(file.get_tensor(name))
    return all(torch.equal(values[0], value) for value in values)


@contextmanager
def loading_errors(directory: Path | str, what: str = "model") -> Iterator[None]:
    """Turns what libraries raise over files that they cannot read into an InputError; `what`: model or tokenizer."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # safetensors and tokenizers raise classes of their own, and bare Exceptions
        if "allocate" in str(error):  # no memory: the files are not to blame
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, (LookupError, TypeError, AttributeError)):  # whose text alone says little
            reason = f"its files are not as transformers writes them ({type(error).__name__}: {reason})"
        config = find_json(Path(directory) / "config.json")
        if isinstance(config, dict) and config.get("auto_map"):
            reason += " (the directory brings code of its own, auto_map in config.json, which is never run)"
        raise InputError(f"no usable {what} in {directory}: {reason}") from error
