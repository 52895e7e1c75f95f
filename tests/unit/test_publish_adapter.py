"""What of a stage with LoRA goes to the hub: the merged model or the adapters, which name a base that others have."""

import json

import pytest

from pipeline.commands.hub import upload
from pipeline.commands.parcel import ADAPTER_CONFIG, pack, with_base
from pipeline.errors import MissingInput
from stages.config import LoraConfig
from stages.contract.description import StageDescription
from stages.contract.files import file_table
from stages.contract.inputs import StageInput
from stages.contract.manifest import Manifest
from stages.engines.adapter_card import adapter_card, adapter_lines
from tests.support.hub_server import Hub

LORA = LoraConfig(rank=8, targets=["q_proj"])
OF_RUN = StageInput(stage="cold_start", path="/runs/demo/cold_start/ab", fingerprint="cd" * 32)
OF_HUB = StageInput(path="/cache/models--org--base/snapshots/1", fingerprint="ef" * 32)


@pytest.fixture
def finished(tmp_path):
    """A function: a finished stage with a model and adapters for this base; returns its directory."""

    def make(base: str, source: StageInput, has_adapter: bool = True):
        directory = tmp_path / "demo" / "reasoning_rl" / "0a1b2c3d"
        description = StageDescription(
            stage="reasoning_rl", kind="grpo", run="demo", config={}, fingerprint="0a1b2c3d" * 8
        )
        card = adapter_card(LORA, description, {"policy": source}, base, {"reward/mean": 1.5})
        contents = {"model/model.safetensors": "weights", "model/README.md": "# card\n"}
        if has_adapter:
            config = json.dumps({"base_model_name_or_path": base, "r": 8})
            contents |= {"adapter/README.md": card, f"adapter/{ADAPTER_CONFIG}": config}
            contents |= {"adapter/adapter_model.safetensors": "factors"}
        for name, text in contents.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        Manifest(stage="reasoning_rl", kind="grpo", files=file_table(directory, sorted(contents))).write(directory)
        return directory

    return make


def test_the_flag_chooses_the_adapters_or_the_model(finished):
    directory = finished("org/base", OF_HUB)
    run_dir = directory.parents[1]
    assert set(pack(run_dir, directory).files) == {"model.safetensors"}
    parcel = with_base(pack(run_dir, directory, "adapter"), None)
    assert set(parcel.files) == {ADAPTER_CONFIG, "adapter_model.safetensors"} and not parcel.texts
    assert 'from_pretrained("org/base")' in parcel.card and "base_model: org/base" in parcel.card
    assert "`org/base` efefefef" in parcel.card and "LoRA of rank 8 and alpha 32 on `q_proj`" in parcel.card


def test_a_base_of_the_run_needs_a_name_that_others_have(finished):
    directory = finished("../../../cold_start/ab/model", OF_RUN)
    parcel = pack(directory.parents[1], directory, "adapter")
    assert "BASE stands for the directory of `cold_start` cdcdcdcd" in parcel.card
    with pytest.raises(MissingInput, match="which nobody else has"):
        with_base(parcel, None)
    named = with_base(parcel, "me/cold-start")
    assert json.loads(named.texts[ADAPTER_CONFIG]) == {"base_model_name_or_path": "me/cold-start", "r": 8}
    assert "BASE" not in named.card and "vllm serve me/cold-start --enable-lora --max-lora-rank 8" in named.card
    assert named.num_bytes == len(named.texts[ADAPTER_CONFIG]) + len("factors") + len(named.card.encode())


def test_the_hub_gets_the_base_by_its_name(finished, monkeypatch):
    directory = finished("../../../cold_start/ab/model", OF_RUN)
    parcel = with_base(pack(directory.parents[1], directory, "adapter"), "me/cold-start")
    with Hub() as hub:
        for name, value in hub.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        upload(parcel, "me/adapter", is_public=False)
        stored = hub.repositories["me/adapter"]["files"]
    assert json.loads(stored[ADAPTER_CONFIG])["base_model_name_or_path"] == "me/cold-start"
    assert stored["adapter_model.safetensors"] == b"factors" and b"me/cold-start" in stored["README.md"]


def test_a_stage_without_adapters_says_so(finished):
    directory = finished("org/base", OF_HUB, has_adapter=False)
    with pytest.raises(MissingInput, match="the stage trained all weights"):
        pack(directory.parents[1], directory, "adapter")


@pytest.mark.parametrize(
    "lora, says",
    [
        (LORA, "(alpha / rank) B A was added, in the type of the weights (bf16), and nothing else changed"),
        (LoraConfig(rank=4, rslora=True), "Trained with rsLoRA of rank 4 and alpha 32 on all linear layers"),
        (LoraConfig(rank=4, dora=True, whole=["lm_head"]), "`lm_head` trained whole"),
        (LoraConfig(rank=4, quantize="4bit"), "the weights below them in 4 bits (QLoRA)"),
    ],
)
def test_the_card_of_the_merged_model_says_what_was_trained_and_how_it_was_merged(lora, says):
    text = "\n".join(adapter_lines(lora, "bf16", {"policy": OF_RUN}))
    assert says in text and "The base is `cold_start` cdcdcdcd." in text
    assert adapter_lines(LoraConfig(), "bf16", {"policy": OF_RUN}) == []
