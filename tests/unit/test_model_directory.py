"""Model directories that are not whole: found from their files alone, or where they are loaded; each says what."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.contract.inputs import StageInput
from stages.contract.model_directory import model_problems, num_tokens
from stages.contract.safetensors_header import BadWeights, read_header
from stages.modeling.loading import load_classifier, loadable, require_loadable, require_outside_models
from stages.modeling.model import load_model, load_tokenizer
from stages.modeling.reward_model import load_reward_model
from stages.runtime.errors import InputError
from tests.support.families import classifier, tiny

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 134\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Whole directories by name: each is copied before it is spoiled."""
    made = {}
    for family in ("llama", "llama_tied", "qwen3_moe", "deepseek_v3"):
        made[family] = tmp_path_factory.mktemp(family)
        tiny(family).save_pretrained(made[family])
        (made[family] / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 95}}, "added_tokens": []}')
    made["sharded"] = tmp_path_factory.mktemp("sharded")
    tiny("llama").save_pretrained(made["sharded"], max_shard_size="20KB")
    shutil.copy(made["llama"] / "tokenizer.json", made["sharded"])
    return made


@pytest.fixture
def copy(saved, tmp_path):
    def of(name: str):
        loadable.clear()
        return shutil.copytree(saved[name], tmp_path / "model", dirs_exist_ok=True)

    return of


def change_weights(change):
    def spoil(path):
        save_file(change(load_file(path / "model.safetensors")), path / "model.safetensors", metadata={"format": "pt"})

    return spoil


def without(part):
    return change_weights(lambda weights: {name: w for name, w in weights.items() if part not in name})


def also(name, tensor):
    return change_weights(lambda weights: {**weights, name: tensor})


def change_config(**changes):
    def spoil(path):
        config = json.loads((path / "config.json").read_text()) | changes
        (path / "config.json").write_text(json.dumps({key: v for key, v in config.items() if v is not None}))

    return spoil


def cut(path):
    content = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[: len(content) // 2])


def text(name, content):
    return lambda path: (path / name).write_text(content)


def link_to_nowhere(path):
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").symlink_to("../blobs/3f2a")


def older_tokenizer(path):
    (path / "tokenizer.json").unlink()
    (path / "vocab.json").write_text('{"a": 0, "b": 100}')


def more_layers(path):
    """One that predicts a token more, as DeepSeek-V3 has it; its class knows only the number of the published one."""
    change_config(num_nextn_predict_layers=1)(path)
    also("model.layers.2.eh_proj.weight", torch.zeros(4))(path)


def first_shard(path):
    return min(path.glob("model-*.safetensors"))


def rename_in_index(path):
    index = json.loads((path / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.extra.weight"] = first_shard(path).name
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


# what is spoiled, how, and what is said: found without torch, by `plan` too
FILES = {
    "cut": ("llama", cut, r"model.safetensors is cut short: \d+ of \d+ bytes"),
    "longer": ("llama", lambda p: (p / "model.safetensors").open("ab").write(b"more"), "more bytes than its header"),
    "empty": ("llama", text("model.safetensors", ""), "not a safetensors file"),
    "garbage": ("llama", text("model.safetensors", "x" * 500), "not a safetensors file"),
    "no header": ("llama", lambda p: (p / "model.safetensors").write_bytes(b"\x05" + b"\0" * 7 + b"{'a':"), "header"),
    "lfs weights": ("llama", text("model.safetensors", LFS), r"model.safetensors: pointers of Git LFS.*git lfs pull"),
    "lfs tokenizer": ("llama", text("tokenizer.json", LFS), r"tokenizer.json: pointers of Git LFS"),
    "lfs config": ("llama", text("config.json", LFS), r"config.json: pointers of Git LFS"),
    "pickle": ("llama", lambda p: (p / "model.safetensors").rename(p / "pytorch_model.bin"), "pickle"),
    "nothing": ("llama", lambda p: (p / "model.safetensors").unlink(), "no weights"),
    "other name": ("llama", lambda p: (p / "model.safetensors").rename(p / "weights.safetensors"), "are not named"),
    "no shard": ("sharded", lambda p: first_shard(p).unlink(), r"files of its index are missing: model-00001"),
    "cut shard": ("sharded", lambda p: first_shard(p).write_bytes(first_shard(p).read_bytes()[:-9]), "is cut short"),
    "no index": ("sharded", lambda p: (p / "model.safetensors.index.json").unlink(), "have no model.safetensors.index"),
    "index says more": ("sharded", rename_in_index, r"do not have: model.extra.weight"),
    "broken index": ("sharded", text("model.safetensors.index.json", "{"), "index.json cannot be read"),
    "adapter": ("llama", text("adapter_config.json", '{"base_model_name_or_path": "some/base"}'), "some/base"),
    "no architectures": ("llama", change_config(architectures=None), "names no architectures"),
    "a classifier": ("llama", change_config(architectures=["LlamaForSequenceClassification"]), "generates no text"),
    "masked": ("llama", change_config(architectures=["BertForMaskedLM"]), "generates no text"),
    "encoder": ("llama", change_config(is_encoder_decoder=True), "encoder-decoder"),
    "quantised": ("llama", change_config(quantization_config={"quant_method": "gptq"}), r"quantised \(gptq\)"),
    "8 bits": (
        "llama",
        change_weights(lambda weights: {n: w.to(torch.int8) if "mlp" in n else w for n, w in weights.items()}),
        r"type I8 \(model.layers.0.mlp.down_proj.weight",
    ),
    "wrapper": ("llama", change_weights(lambda weights: {f"module.{n}": w for n, w in weights.items()}), "'module.'"),
    "compiled": ("llama", change_weights(lambda w: {f"_orig_mod.{n}": t for n, t in w.items()}), "'_orig_mod.'"),
    "no layer": ("llama", without("layers.1."), r"config.json says 2 layers, .* no tensor of layer 1"),
    "more layers": ("llama", change_config(num_hidden_layers=4), "no tensor of layer 2, 3"),
    "no expert": ("qwen3_moe", without("experts.1.gate_proj"), r"lack model.layers.0.mlp.experts.1.gate_proj.weight"),
    "more tokens": (
        "llama",
        text("tokenizer.json", '{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 96, "content": "<x>"}]}'),
        r"97 tokens, but model.embed_tokens.weight has 96 rows",
    ),
    "added later": ("llama", text("added_tokens.json", '{"<x>": 120}'), r"121 tokens"),
    "a link to nowhere": ("llama", link_to_nowhere, r"model.safetensors: links to files that are not there"),
    "cut config": ("llama", text("config.json", '{"model_type": "lla'), "config.json is not JSON"),
    "cut tokenizer": ("llama", text("tokenizer.json", '{"model": {"vocab": '), "tokenizer.json is not JSON"),
    "odd tokenizer": ("llama", text("tokenizer.json", '{"model": 1}'), "not as transformers writes them"),
    "odd ids": ("llama", text("tokenizer.json", '{"model": {"vocab": {"a": "b"}}}'), "not as transformers writes them"),
    "odd architectures": ("llama", change_config(architectures=[1]), "names no architectures"),
    "odd index": ("sharded", text("model.safetensors.index.json", '{"weight_map": {"a": 1}}'), "cannot be read"),
    "gguf": ("llama", lambda p: (p / "model.safetensors").rename(p / "model.gguf"), "GGUF file"),
    "older tokenizer": ("llama", older_tokenizer, "101 tokens"),
    "no tokenizer": ("llama", lambda p: (p / "tokenizer.json").unlink(), "no tokenizer"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_what_files_alone_say(copy, case):
    name, spoil, expected = FILES[case]
    path = copy(name)
    assert model_problems(path) == []
    spoil(path)
    (problem,) = model_problems(path)
    with pytest.raises(InputError, match=expected) as raised:
        load_model(path)
    assert problem in str(raised.value) and str(path) in str(raised.value)


# what the names and shapes that the model's class expects say
NAMES = {
    "no head": ("llama", without("lm_head"), r"1 tensors that LlamaForCausalLM needs are missing: lm_head.weight"),
    "no embedding": ("llama", without("embed_tokens"), r"missing: model.embed_tokens.weight"),
    "no embedding at all": ("llama_tied", without("embed_tokens"), r"missing: .*embed_tokens.weight"),
    "one tensor": ("llama", without("layers.1.mlp.up_proj"), r"missing: model.layers.1.mlp.up_proj.weight"),
    "another model's": ("llama", also("model.visual.weight", torch.zeros(2)), r"not of LlamaForCausalLM: model.visual"),
    "fewer layers": ("llama", change_config(num_hidden_layers=1), r"not of LlamaForCausalLM: .*and 6 more"),
    "shape": (
        "llama",
        change_weights(lambda weights: {n: w[:-1].clone() if "embed" in n else w for n, w in weights.items()}),
        r"model.embed_tokens.weight is \[95, 32\], not \[96, 32\]",
    ),
    "width": ("llama", change_config(intermediate_size=40), r"another shape than config.json says"),
    "two that are tied": ("llama_tied", also("lm_head.weight", torch.ones(96, 32)), "tie_word_embeddings to false"),
    "unknown": ("llama", change_config(model_type="frobnicator"), "frobnicator"),
    "its own code": (
        "llama",
        change_config(model_type="frobnicator", auto_map={"AutoModelForCausalLM": "modeling_x.X"}),
        "code of its own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_what_the_class_of_the_model_says(copy, case):
    """The same before vLLM loads by itself, without reading the weights."""
    name, spoil, expected = NAMES[case]
    path = copy(name)
    if case in ("no embedding", "no embedding at all", "shape"):
        (path / "tokenizer.json").write_text("{}")  # else its size says so first
    spoil(path)
    for load in (load_model, require_loadable):
        with pytest.raises(InputError, match=expected) as raised:
            load(path)
        assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "name, spoil",
    [
        ("llama", lambda path: None),
        ("sharded", lambda path: None),
        ("qwen3_moe", lambda path: None),
        ("llama_tied", lambda path: None),
        ("llama", also("v_head.summary.weight", torch.zeros(1, 32))),
        ("llama", also("model.layers.0.self_attn.rotary_emb.inv_freq", torch.zeros(4))),
        ("llama", also("model.layers.0.attn.bias", torch.ones(1, 1, 4, 4, dtype=torch.bool))),
        ("llama", also("mtp.norm.weight", torch.zeros(4))),
        ("deepseek_v3", more_layers),
        (
            "llama_tied",
            change_weights(lambda w: {**w, "lm_head.weight": w["model.embed_tokens.weight"].clone()}),
        ),
    ],
)
def test_what_is_whole_is_loaded(copy, name, spoil):
    """Value heads, tables that models make themselves, and heads that say once more what is tied are no mistakes."""
    path = copy(name)
    spoil(path)
    require_loadable(path)
    model = load_model(path)
    made = tiny(name.replace("sharded", "llama")).state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), made))


def test_what_is_only_sampled_from_may_be_quantised(copy):
    path = copy("llama")
    change_config(quantization_config={"quant_method": "gptq"})(path)
    require_loadable(path)
    assert model_problems(path, is_trained=False) == []


def test_a_reward_model_has_its_head_and_a_new_one_gets_one(copy, tmp_path):
    """The head of the LM is left out, and of a trained reward model nothing may be missing."""
    path = copy("llama")
    assert load_reward_model(path, pad=0, is_new=True).config.pad_token_id == 0
    with pytest.raises(InputError, match=r"needs are missing: score.weight"):
        load_reward_model(path)
    without("layers.1.mlp.up_proj")(path)
    with pytest.raises(InputError, match=r"missing: model.layers.1.mlp.up_proj"):
        load_reward_model(path, is_new=True)
    made = classifier("llama")
    made.save_pretrained(tmp_path / "reward")
    shutil.copy(path / "tokenizer.json", tmp_path / "reward")
    loaded = load_classifier(tmp_path / "reward", torch.float32, has_head=True)
    assert torch.equal(loaded.score.weight, made.score.weight)


def test_models_from_outside_are_looked_at_before_a_stage_begins(copy):
    """A stage's own output is verified by its manifest; some of it (reward models) are several models."""
    path = copy("llama")
    outside = StageInput(path=str(path), model_dir=str(path), fingerprint="0")
    require_outside_models([outside])
    change_config(model_type="frobnicator")(path)
    with pytest.raises(InputError, match="frobnicator"):
        require_outside_models([outside])
    cut(path)
    with pytest.raises(InputError, match="is cut short"):
        require_outside_models([outside])
    require_outside_models([StageInput(stage="base", path=str(path), model_dir=str(path), fingerprint="0")])


@pytest.mark.parametrize("content", ["{", '{"model": 1}', LFS])
def test_a_broken_tokenizer_is_bad_input(copy, content):
    path = copy("llama")
    (path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match="no usable tokenizer"):
        load_tokenizer(path)


def test_an_unknown_token_that_is_never_drawn_needs_no_row(copy):
    """As Qwen2Tokenizer adds it to any vocabulary when it is loaded, and so our exports have it."""
    path = copy("llama")
    vocabulary, added = {"a": 0, "b": 95}, [{"id": 96, "content": "<|endoftext|>"}]
    settings = {"unk_token": "<|endoftext|>", "eos_token": "b"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": added}))
    assert num_tokens(path) == 96 and not model_problems(path)
    for role in ("eos_token", "pad_token"):
        (path / "tokenizer_config.json").write_text(json.dumps({**settings, role: "<|endoftext|>"}))
        assert num_tokens(path) == 97, role
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    model = {"vocab": vocabulary, "unk_token": "<|endoftext|>"}
    (path / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": added}))
    assert num_tokens(path) == 97


def test_headers_and_tokens_are_counted(saved):
    header = read_header(saved["llama"] / "model.safetensors")
    assert header["lm_head.weight"].shape == (96, 32) and header["lm_head.weight"].dtype == "F32"
    assert num_tokens(saved["llama"]) == 96
    with pytest.raises(BadWeights, match="config.json"):
        read_header(saved["llama"] / "config.json")
