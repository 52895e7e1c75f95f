"""What a model card says of adapters: what they are, which base they are for, how they were merged and are loaded."""

from pathlib import Path

from stages.config import LoraConfig, to_dict
from stages.config.lora import vllm_rank
from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput
from stages.engines.model_card import flat, hub_name, number_lines, origin_lines

MERGED = (
    "`model/` holds the merged weights: to each weight W of a layer with an adapter {product} was added, in the type "
    "of the weights ({precision}), and nothing else changed."
)


def named_base(inputs: dict[str, StageInput]) -> str:
    """The model that the adapters are for, in words, with its fingerprint."""
    base = inputs["policy"]
    name = base.stage or hub_name(base.path) or Path(base.path).name
    return f"`{name}` {base.fingerprint[:8]}"


def adapter_lines(lora: LoraConfig, precision: str, inputs: dict[str, StageInput]) -> list[str]:
    """The section of a merged model's card on its adapters; nothing where all weights were trained."""
    if not lora.is_on:
        return []
    return [
        "### Adapters",
        "",
        f"Trained with {_what(lora)}. The base is {named_base(inputs)}. "
        f"{MERGED.format(product=_product(lora), precision=precision)} "
        "`adapter/` of the stage holds the adapters alone, for peft and vLLM.",
        "",
    ]


def adapter_card(
    lora: LoraConfig,
    description: StageDescription,
    inputs: dict[str, StageInput],
    base: str,
    metrics: dict[str, float],
) -> str:
    """The README.md of a directory of adapters.

    Args:
        lora: What the adapters are.
        description: Of the stage.
        inputs: Of the stage, by role.
        base: The name of the base in adapter_config.json.
        metrics: The stage's numbers at the end.
    """
    is_path = base.startswith(("/", "."))
    shown = "BASE" if is_path else base
    note = f" BASE stands for the directory of {named_base(inputs)}." if is_path else ""
    return "\n".join(
        [
            "---",
            _front_matter(description, base),
            "---",
            "",
            f"# {description.run}: {description.stage}, the adapters",
            "",
            f"LoRA adapters, made by the stage `{description.stage}` ({description.kind}) of a reproduction of the "
            "DeepSeek-R1 recipe ([arXiv 2501.12948](https://arxiv.org/abs/2501.12948)): "
            f"{_what(lora)}. They are for one base only: {named_base(inputs)}.{note}",
            "",
            "```python",
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM",
            "",
            f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{shown}"), "ADAPTER")',
            "model = model.merge_and_unload()  # the model in `model/` of the stage",
            "```",
            "",
            *_in_vllm(lora, shown),
            "## How they were made",
            "",
            *origin_lines(description, inputs),
            *number_lines(metrics),
            "## Configuration of the adapters",
            "",
            "```",
            *flat(to_dict(lora), "lora."),
            "```",
            "",
        ]
    )


def _front_matter(description: StageDescription, base: str) -> str:
    """What the Hub reads of a card, in YAML."""
    from huggingface_hub import ModelCardData

    return ModelCardData(
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["r1-recipe", "lora", description.kind],
        base_model=None if base.startswith(("/", ".")) else base,
    ).to_yaml()


def _what(lora: LoraConfig) -> str:
    """Rank, scale and layers, in words."""
    kind = "DoRA" if lora.dora else "rsLoRA" if lora.rslora else "LoRA"
    targets = ", ".join(f"`{name}`" for name in lora.targets) or "all linear layers of the decoder"
    more = f"; {', '.join(f'`{name}`' for name in lora.whole)} trained whole" if lora.whole else ""
    bits = "; the weights below them in 4 bits (QLoRA)" if lora.quantize == "4bit" else ""
    return f"{kind} of rank {lora.rank} and alpha {lora.alpha:g} on {targets}{more}{bits}"


def _product(lora: LoraConfig) -> str:
    """What is added to a weight."""
    scale = "alpha / sqrt(rank)" if lora.rslora else "alpha / rank"
    return f"({scale}) B A" + (", its rows scaled to the trained lengths (DoRA)," if lora.dora else "")


def _in_vllm(lora: LoraConfig, shown: str) -> list[str]:
    """How vLLM serves them, where it can."""
    if lora.dora or lora.whole:
        return ["vLLM has no DoRA and no modules that are trained whole: serve the merged model.", ""]
    return [
        "```",
        f"vllm serve {shown} --enable-lora --max-lora-rank {vllm_rank(lora.rank)} --lora-modules policy=ADAPTER",
        "```",
        "",
    ]
