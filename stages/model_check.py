"""Looks at a model directory as the recipe would use it: `python -m stages.model_check DIR [--gpu]`.

Prints one line of JSON for each thing that it has looked at (stages/contract/model_finding.py). It is a worker of the
command `models check`, as `chat/` is one of `chat`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract.model_finding import Level, ModelFinding
from stages.runtime import environment
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LARGE = 2_000_000_000  # parameters from which on a model is looked at in bf16, for its size
NUM_TOKENS = 64  # of prompts and of completions that are sampled, at most


def main(arguments: list[str]) -> int:
    """Prints what is found; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stages.model_check", description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--gpu", action="store_true", help="use a GPU, in bf16")
    options = parser.parse_args(arguments)
    environment.prepare()
    from transformers.utils import logging

    logging.disable_progress_bar()
    for finding in findings(options.model_dir, options.gpu):
        print(finding.as_line(), flush=True)
    return 0


def findings(directory: Path, on_gpu: bool) -> Iterator[ModelFinding]:
    """Tokenizer, weights, logits, dropout, reward models and engines, in this order."""
    from stages.engines.finite import named, non_finite_files
    from stages.modeling.model import load_model, load_tokenizer

    try:
        tokenizer = load_tokenizer(directory)
        yield from _of_tokenizer(tokenizer)
        broken = non_finite_files(directory)
        if broken:
            yield ModelFinding("weights", "problem", f"NaN or infinite: {named(broken)}")
            return
        precision = "bf16" if on_gpu or _num_parameters(directory) > LARGE else "fp32"
        model = load_model(directory, precision)
        yield ModelFinding("weights", "ok", f"whole and finite; looked at in {precision}")
    except InputError as error:
        yield ModelFinding("weights", "problem", str(error))
        return
    yield from _of_training(model, tokenizer)
    del model
    yield from _of_engines(directory, precision)


def _num_parameters(directory: Path) -> int:
    from stages.contract.model_directory import read_tensors

    entries = read_tensors(directory).values()
    sizes = []
    for entry in entries:
        size = 1
        for axis in entry.shape:
            size *= axis
        sizes.append(size)
    return sum(sizes)


def _of_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> Iterator[ModelFinding]:
    """Special tokens, what ends a completion and who says so, the chat template and its opening."""
    from stages.prompting.encoding import Encoder
    from stages.prompting.vocabulary import own_chat_template, vocabulary_of

    vocabulary = vocabulary_of(tokenizer)
    roles = {role: getattr(tokenizer, f"{role}_token", None) for role in ("bos", "eos", "pad", "unk")}
    named = ", ".join(f"{role} {token}" for role, token in roles.items() if token is not None)
    added = _names(tokenizer, vocabulary.prefix)
    before = f"; puts {added} in front of every text" if added else ""
    yield ModelFinding("specials", "ok", f"{named}{before}")
    yield ModelFinding("turn ends", "ok", _ends(tokenizer))
    template = own_chat_template(tokenizer)
    if template is None:
        yield ModelFinding("template", "note", "none of its own: use template=plain or template=r1_zero")
        return
    try:
        encoder = Encoder(tokenizer, "chat")
        tail = encoder.text("QUESTION").rpartition("QUESTION")[2]
    except Exception as error:  # a template may refuse anything, in any way
        yield ModelFinding("template", "note", f"its chat template fails ({error}): use template=plain or r1_zero")
        return
    opening = f"; it opens the thought itself ({encoder.opening!r})" if encoder.opening else ""
    yield ModelFinding("template", "ok", f"chat; a prompt ends with {tail!r}{opening}")


def _ends(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The ids that end a completion, each with who says so; the first is what training writes."""
    from stages.prompting.vocabulary import own_chat_template, vocabulary_of

    vocabulary = vocabulary_of(tokenizer)
    template = own_chat_template(tokenizer)
    sources = vocabulary.ends_by_source()
    trained = vocabulary.end_id(template)
    parts = []
    for token in vocabulary.stop_ids():
        said_by = ", ".join(source for source, ids in sources.items() if token in ids)
        learned = "; learned at the end of completions" if token == trained else ""
        parts.append(f"{_names(tokenizer, [token])} = {token} ({said_by}{learned})")
    return ", ".join(parts)


def _names(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> str:
    return " ".join(str(name) for name in tokenizer.convert_ids_to_tokens(ids))


def _of_training(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> Iterator[ModelFinding]:
    """Whether training computes the model's own logits, padded and packed; dropout; whether rewards can be learned."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    from stages.modeling.attention import cannot_pack
    from stages.modeling.batching import pad_id
    from stages.modeling.checks import SelfCheck
    from stages.modeling.dropout import rates_of, turn_off_dropout
    from stages.modeling.policy_model import PolicyModel
    from stages.modeling.ready import own_device, require_rows

    heads = {"linear": "plain", "capped": "with a cap", "own": "computed by its own code"}
    try:
        require_rows(model, tokenizer)
        rates = rates_of(model)
        turn_off_dropout(model)
        policy = PolicyModel(model.to(own_device())).eval()
        check = SelfCheck(policy, pad_id(tokenizer))
    except InputError as error:
        yield ModelFinding("logits", "problem", str(error))
        return
    why = check.why_not_padded()
    yield _judged("logits", why, f"its own, in padded rows; head {heads[policy.head]}", "problem")
    why = why or cannot_pack(model) or check.why_not_packed()
    yield _judged("packing", why, "its own logits in packed rows too", "note", "rows are padded: ")
    off = f"off in training by default (its configuration has {', '.join(rates)})" if rates else "none"
    yield ModelFinding("dropout", "ok", off)
    can_judge = type(model.config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    why = None if can_judge else "transformers has no classifier of this family: start them from another model"
    yield _judged("reward model", why, "can start from it", "note")


def _judged(name: str, why: str | None, text: str, level: Level, before: str = "") -> ModelFinding:
    """`text` where nothing is wrong; else why, as a note or a problem."""
    return ModelFinding(name, "ok", text) if why is None else ModelFinding(name, level, before + why)


def _of_engines(directory: Path, precision: str) -> Iterator[ModelFinding]:
    """Which samplers draw from the model itself, and take its weights from a trainer."""
    import torch

    from stages.config import RolloutConfig
    from stages.engines.sampling.check import make_checked_sampler
    from stages.engines.vllm_models import why_not_vllm

    def with_transformers() -> None:
        config = RolloutConfig(engine="transformers")
        make_checked_sampler(config, directory, NUM_TOKENS, NUM_TOKENS, precision).close()

    why_not = _why_not(with_transformers)
    yield _judged("transformers", why_not, "samples from it (rollout=transformers)", "note")
    why = why_not_vllm(directory, torch.cuda.is_available()) or _why_not(lambda: _sync_vllm(directory, precision))
    vllm = "samples from it and takes a trainer's weights (rollout=vllm)"
    yield _judged("vllm", why, vllm, "problem" if why_not else "note", "use rollout=transformers: the model ")


def _sync_vllm(directory: Path, precision: str) -> None:
    """Gives a vLLM engine with random weights those of the model, and compares what it draws with the model itself."""
    from stages.config import RolloutConfig
    from stages.engines.sampling import make_sampler
    from stages.engines.sampling.check import check_sampler
    from stages.engines.training import init_distributed
    from stages.engines.weights import named_weights, with_checkpoint_names
    from stages.modeling.model import load_model

    init_distributed()  # vLLM takes part in the process group that is there
    config = RolloutConfig(engine="vllm")
    sampler = make_sampler(config, directory, NUM_TOKENS, NUM_TOKENS, precision, is_synced_first=True)
    try:
        model = load_model(directory, precision)
        sampler.sync(with_checkpoint_names(model, named_weights(model)))
        check_sampler(sampler, config, directory, NUM_TOKENS, precision)
    finally:
        sampler.close()


def _why_not(trial: Callable[[], None]) -> str | None:
    """Why a trial fails, in one line; None where it does not."""
    try:
        trial()
    except Exception as error:  # an engine may fail in any way: it is what the user asks about
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
