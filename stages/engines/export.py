"""The end of a trained stage: a complete Hugging Face directory, for people, vLLM, harnesses and the next stage.

Besides safetensors and tokenizer it has the chat template that renders the very prompts the model was trained on, the
ids that end a completion, sampling defaults as published [model card of DeepSeek-R1; V2 D.1], and a model card.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract import files
from stages.engines.adapter_card import adapter_card, adapter_lines
from stages.engines.adapter_files import base_name, peft_names, write_adapter
from stages.engines.model_card import model_card
from stages.engines.training import TrainEngine
from stages.prompting.chat_templates import as_chat_template, beginning
from stages.prompting.encoding import Encoder
from stages.prompting.vocabulary import whole_ids
from stages.runtime.disk import all_or_nothing
from stages.runtime.worker import Worker

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def chat_template(template: str, tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """The Jinja template that renders prompts as in training.

    Args:
        template: Of the prompts in training: plain, r1_zero, chat (the tokenizer's own), or the text of one.
        tokenizer: Of the model.

    Returns:
        The text, None where the tokenizer has none. Engines that render it add nothing in front, so it begins with what
        the tokenizer puts in front of every text.
    """
    begin, chat = beginning(tokenizer), as_chat_template(template, tokenizer)
    if chat is None or not begin or template in ("plain", "r1_zero") or Encoder(tokenizer, template).writes_prefix:
        return chat
    return begin + chat


def set_generation_defaults(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", template: str = "plain"
) -> list[int]:
    """Sets what generation_config.json will say: how to sample, and which tokens end a completion; returns these.

    First the end that was trained on, then all others that the samplers of the recipe stop at.
    """
    from transformers import GenerationConfig

    encoder = Encoder(tokenizer, template)
    before = whole_ids(model.generation_config.eos_token_id) if model.generation_config is not None else []
    ids = list(dict.fromkeys([encoder.end_id, *encoder.stop_ids, *before]))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=pad,
        eos_token_id=ids[0] if len(ids) == 1 else ids,
    )
    return ids


def export(worker: Worker, engine: TrainEngine, tokenizer: "PreTrainedTokenizerBase", template: str) -> None:
    """Writes model/ of a stage: weights, tokenizer with chat template, generation_config, README.md.

    With LoRA the weights are merged, and adapter/ holds the adapters alone.

    Collective under ZeRO-3. `template`: that of the prompts that the model was trained on.
    """
    stop_ids = set_generation_defaults(engine.module.model, tokenizer, template)
    tokenizer.chat_template = chat_template(template, tokenizer)
    engine.export(tokenizer, worker.dir / "model")
    has_adapters = engine.module.adapters is not None
    if worker.is_main:
        ends = [tokenizer.convert_ids_to_tokens(end) for end in stop_ids]
        card = model_card(
            worker.description,
            worker.inputs,
            worker.metrics,
            tokenizer.chat_template or "",
            ends,
            adapter_lines(worker.config.lora, engine.config.precision, worker.inputs) if has_adapters else (),
        )
        with all_or_nothing(worker.dir / "model", len(card)):
            files.write_atomic(worker.dir / "model" / "README.md", card.encode())
    if has_adapters:
        export_adapter(worker, engine, worker.dir / "adapter")


def export_adapter(worker: Worker, engine: TrainEngine, directory: Path, task: str = "CAUSAL_LM") -> None:
    """Writes the adapters of a trained model as a directory that peft and vLLM load, with a README.md.

    Collective under ZeRO-3.

    Args:
        worker: The stage; its policy is the base.
        engine: The trained module.
        directory: Where the adapters go.
        task: What peft calls the task of the model.
    """
    tensors = peft_names(engine.adapter_weights())
    adapters = engine.module.adapters
    if not worker.is_main or adapters is None:
        return
    source = worker.inputs["policy"]
    base = base_name(worker.model_dir("policy"), directory, is_of_run=source.stage is not None)
    card = adapter_card(adapters.config, worker.description, worker.inputs, base, worker.metrics)
    with all_or_nothing(directory, sum(tensor.nbytes for tensor in tensors.values()) + len(card)):
        write_adapter(directory, adapters, tensors, base, task)
        files.write_atomic(directory / "README.md", card.encode())
