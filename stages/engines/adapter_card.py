"""What a model card says of adapters: which base they are for, what they are, how they were merged, how to load them."""

from pathlib import Path
from typing import Any

from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput
from stages.engines.model_card import card_command, data_lines, flat, hub_name, lineage

MERGED = (
    "`model/` holds the merged weights: to each weight W of a layer with an adapter {product} was added, in the type "
    "of the weights ({precision}), and nothing else changed."
)


def has_adapters(description: StageDescription) -> bool:
    """Whether a stage trained adapters, and not all weights."""
    lora = description.config.get("lora")
    return isinstance(lora, dict) and bool(lora.get("rank"))


def named_base(inputs: dict[str, StageInput]) -> str:
    """The model that the adapters are for, in words, with its fingerprint."""
    base = inputs["policy"]
    name = base.stage or hub_name(base.path) or Path(base.path).name
    return f"`{name}` {base.fingerprint[:8]}"


def adapter_lines(description: StageDescription, inputs: dict[str, StageInput]) -> list[str]:
    """The section of a merged model's card on its adapters; nothing where all weights were trained."""
    if not has_adapters(description):
        return []
    product = _product(description.config["lora"])
    precision = description.config.get("deepspeed", {}).get("precision", "fp32")
    return [
        "### Adapters",
        "",
        f"Trained with LoRA: {_what(description.config['lora'])} on the base {named_base(inputs)}. "
        f"{MERGED.format(product=product, precision=precision)} "
        "`adapter/` of the stage holds the adapters alone, for peft and vLLM.",
        "",
    ]


def adapter_card(
    description: StageDescription, inputs: dict[str, StageInput], base: str, metrics: dict[str, float]
) -> str:
    """The README.md of a directory of adapters.

    Args:
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
            f"{_what(description.config['lora'])}. They are for one base only: {named_base(inputs)}.{note}",
            "",
            "```python",
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM",
            "",
            f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{shown}"), "ADAPTER")',
            "model = model.merge_and_unload()  # the model in `model/` of the stage",
            "```",
            "",
            *_in_vllm(description.config["lora"], shown),
            "## How they were made",
            "",
            "```",
            card_command(description.command or f"python -m pipeline run +stage={description.stage}"),
            "```",
            "",
            f"Fingerprint `{description.fingerprint}`, seed {description.seed}.",
            "",
            "### Lineage",
            "",
            *lineage(description.stage, description.fingerprint, inputs),
            "",
            "### Data",
            "",
            *data_lines(description, inputs),
            "",
            "## Numbers at the end of training",
            "",
            "| metric | value |",
            "|---|---|",
            *(f"| {name} | {value:.4g} |" for name, value in metrics.items()),
            "",
            "## Configuration of the adapters",
            "",
            "```",
            *flat(description.config["lora"], "lora."),
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


def _what(lora: dict[str, Any]) -> str:
    """Rank, scale and layers, in words."""
    kind = "DoRA" if lora.get("dora") else "rsLoRA" if lora.get("rslora") else "LoRA"
    targets = ", ".join(f"`{name}`" for name in lora.get("targets") or []) or "all linear layers of the decoder"
    whole = lora.get("whole") or []
    more = f"; {', '.join(f'`{name}`' for name in whole)} trained whole" if whole else ""
    bits = "; the weights below them in 4 bits (QLoRA)" if lora.get("quantize") == "4bit" else ""
    return f"{kind} of rank {lora['rank']} and alpha {lora['alpha']:g} on {targets}{more}{bits}"


def _product(lora: dict[str, Any]) -> str:
    """What is added to a weight."""
    scale = "alpha / sqrt(rank)" if lora.get("rslora") else "alpha / rank"
    return f"({scale}) B A" + (", its rows scaled to the trained lengths (DoRA)," if lora.get("dora") else "")


def _in_vllm(lora: dict[str, Any], shown: str) -> list[str]:
    """How vLLM serves them, where it can."""
    if lora.get("dora") or lora.get("whole"):
        return ["vLLM has no DoRA and no modules that are trained whole: serve the merged model.", ""]
    return [
        "```",
        f"vllm serve {shown} --enable-lora --max-lora-rank {vllm_rank(lora['rank'])} --lora-modules policy=ADAPTER",
        "```",
        "",
    ]


VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM 0.32: the sizes that it has room for


def vllm_rank(rank: int) -> int:
    """The smallest room of vLLM that holds adapters of this rank; the rank itself where none does."""
    return next((room for room in VLLM_RANKS if room >= rank), rank)
