"""`models check`: what a directory is, and whether the recipe can use it; a line for each thing, or one JSON object."""

import json

import pytest
from safetensors.torch import load_file, save_file

from pipeline.__main__ import main
from pipeline.planning.model_check import quick_findings
from stages import model_check
from stages.config import ModelConfig
from stages.contract.model_finding import ModelFinding
from stages.modeling.model import new_model, save_model
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support.families import tiny

SMALL = ModelConfig(hidden_size=32, num_layers=1, num_heads=2, num_kv_heads=1, intermediate_size=48)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture
def saved(tokenizer, tmp_path):
    """Writes a model of a family, or the recipe's own, with the tiny world's tokenizer."""

    def write(family: str = "", **changes):
        size = dict(vocab_size=len(tokenizer), **changes)
        model = tiny(family, **size) if family else new_model(SMALL, tokenizer, 1)
        save_model(model, None, tokenizer, tmp_path / "model")
        return tmp_path / "model"

    return write


@pytest.fixture
def no_engines(monkeypatch):
    monkeypatch.setattr(model_check, "_of_engines", lambda directory, precision: iter(()))


def found_in(directory) -> dict[str, ModelFinding]:
    return {finding.name: finding for finding in model_check.findings(directory, on_gpu=False)}


def test_what_the_files_tell(saved):
    found = {finding.name: finding for finding in quick_findings(saved())}
    assert found["family"].text == "LlamaForCausalLM (llama)" and found["precision"].text == "fp32"
    assert found["context"].text == "256 tokens" and found["tokens"].text == "288"
    assert found["files"] == ModelFinding("files", "ok", "whole")
    assert found["parameters"].text.endswith("in 16 tensors")


def test_a_mixed_checkpoint_says_its_types(saved):
    path = saved() / "model.safetensors"
    weights = load_file(path)
    save_file({n: w.bfloat16() if "mlp" in n else w for n, w in weights.items()}, path, {"format": "pt"})
    found = {finding.name: finding for finding in quick_findings(path.parent)}
    assert found["precision"].text.startswith("fp32 (") and "bf16 (" in found["precision"].text


def test_what_needs_the_weights(saved, no_engines):
    found = found_in(saved())
    assert [name for name, finding in found.items() if finding.level != "ok"] == ["template"]  # it has none
    assert "eos <eos>" in found["specials"].text and "<bos> in front" in found["specials"].text
    assert found["turn ends"].text.startswith("<eos> = 2 (tokenizer, ")
    assert found["logits"].text.endswith("head plain") and found["dropout"].text == "none"


@pytest.mark.parametrize(
    ("family", "name", "level", "text"),
    [
        ("granite", "logits", "ok", "computed by its own code"),
        ("gemma2", "logits", "ok", "with a cap"),
        ("nemotron", "packing", "note", "rows are padded: its layers do not tell"),
        ("mistral_window", "packing", "note", "sliding window"),
        ("gpt2", "dropout", "ok", "attn_pdrop, embd_pdrop, resid_pdrop"),
        ("bert", "logits", "problem", "padded rows"),
        ("granite", "reward model", "note", "no classifier"),
        ("llama", "template", "note", "template=plain"),
    ],
)
def test_what_is_said_of_other_families(saved, no_engines, family, name, level, text):
    found = found_in(saved(family))
    assert found[name].level == level and text in found[name].text


def test_a_chat_template_and_its_end_of_turn(tokenizer, no_engines, tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    save_model(tiny("llama", vocab_size=len(tokenizer)), None, tokenizer, tmp_path / "model")
    found = found_in(tmp_path / "model")
    assert "<|im_end|> = 289 (chat template)" in found["turn ends"].text
    assert "<|im_start|>assistant" in found["template"].text and "opens the thought itself" in found["template"].text


def test_weights_that_are_no_numbers(saved, no_engines):
    path = saved() / "model.safetensors"
    weights = load_file(path)
    save_file({n: w * float("nan") if "norm" in n else w for n, w in weights.items()}, path, {"format": "pt"})
    found = found_in(path.parent)
    assert (
        found["weights"].level == "problem" and "model.norm.weight" in found["weights"].text and "logits" not in found
    )


def test_weights_that_are_not_whole(saved, no_engines):
    path = saved() / "model.safetensors"
    weights = load_file(path)
    save_file({n: w for n, w in weights.items() if "up_proj" not in n}, path, {"format": "pt"})
    assert "model.layers.0.mlp.up_proj.weight" in found_in(path.parent)["weights"].text


def test_the_command(saved, capsys):
    directory = saved()
    assert main(["models", "check", str(directory), "--quick"]) == 0
    assert "ok   files" in capsys.readouterr().out
    assert main(["models", "check", str(directory.parent), "--quick", "--json"]) == 0  # a stage's directory
    told = json.loads(capsys.readouterr().out)
    assert told["is_usable"] and told["directory"] == str(directory)
    assert [finding["name"] for finding in told["findings"]][-1] == "files"
    (directory / "model.safetensors").write_bytes(b"\0" * 5)
    assert main(["models", "check", str(directory), "--json"]) == 3  # no process loads what is not whole
    told = json.loads(capsys.readouterr().out)
    assert not told["is_usable"] and "not a safetensors file" in told["findings"][-1]["text"]
    assert main(["models", "check", str(directory / "nothing")]) == 3
    assert "no such directory" in capsys.readouterr().out.replace("\n", " ")


def test_findings_go_through_a_line():
    finding = ModelFinding("weights", "problem", "two\nlines, “quoted”")
    assert "\n" not in finding.as_line() and ModelFinding.from_line(finding.as_line()) == finding
    for line in ("INFO vllm starts", "{}", "[1]", '"text"', "null"):
        assert ModelFinding.from_line(line) is None


def test_the_driver_loads_no_torch_for_it(saved, repository):
    import subprocess
    import sys

    code = (
        "import sys; from pipeline.__main__ import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'an engine was imported'; sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "models", "check", str(saved()), "--quick"]
    assert subprocess.run(command, cwd=repository, capture_output=True).returncode == 0
