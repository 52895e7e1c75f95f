"""`models cut`: a model of fewer layers, which are the old ones, and what is refused."""

import pytest
import torch

from pipeline.commands.cut_model import cut as command
from pipeline.errors import InvalidConfig, MissingInput
from stages.contract.model_directory import model_problems
from stages.engines.cut import cut
from stages.modeling.model import load_model
from tests.support.families import tiny
from tests.support.tokenizers import CHATML, byte_level, saved

pytestmark = pytest.mark.slow  # loads models


@pytest.fixture(scope="module", params=["llama_tied", "gemma3"])
def whole(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "whole"
    tokenizer = saved(byte_level(), directory, CHATML, eos_token="<|im_end|>")
    changes = {"num_hidden_layers": 6, "vocab_size": len(tokenizer)}
    if request.param == "gemma3":  # whose configuration has an entry for each layer
        changes["layer_types"] = ["sliding_attention"] * 5 + ["full_attention"]
    tiny(request.param, **changes).save_pretrained(directory)
    return directory


def test_the_first_and_the_last_layers_stay_as_they_are(whole, tmp_path):
    count = cut(whole, tmp_path / "smaller", 3)
    before, after = load_model(whole), load_model(tmp_path / "smaller")
    assert count == sum(parameter.numel() for parameter in after.parameters())
    assert model_problems(tmp_path / "smaller") == [] and after.config.num_hidden_layers == 3
    old, new = before.get_decoder(), after.get_decoder()
    for here, there in enumerate((0, 1, 5)):
        for mine, theirs in zip(new.layers[here].parameters(), old.layers[there].parameters(), strict=True):
            assert torch.equal(mine, theirs)
    assert torch.equal(new.embed_tokens.weight, old.embed_tokens.weight)
    kinds = getattr(before.config, "layer_types", None)
    if kinds:
        assert after.config.layer_types == [kinds[0], kinds[1], kinds[5]]
    assert torch.isfinite(after(torch.tensor([[1, 2, 3]])).logits).all()


@pytest.mark.parametrize("whole", ["llama_tied"], indirect=True)
def test_layers_that_are_named_are_left_out(whole, tmp_path, capsys):
    assert command(whole, without="3, 1", to=tmp_path / "smaller") == 0
    assert f"use it with student.path={tmp_path / 'smaller'}" in capsys.readouterr().out
    before, after = load_model(whole), load_model(tmp_path / "smaller")
    assert after.config.num_hidden_layers == 4
    for here, there in enumerate((0, 2, 4, 5)):
        weights = (model.get_decoder().layers[layer].mlp.up_proj for model, layer in ((after, here), (before, there)))
        assert torch.equal(*(part.weight for part in weights))
    assert "with 4 of its 6 layers\n\nThe layers 0, 2, 4, 5 " in (tmp_path / "smaller" / "README.md").read_text()


@pytest.mark.parametrize("whole", ["llama_tied"], indirect=True)
def test_mistakes_name_what_is_wrong_and_leave_nothing(whole, tmp_path):
    with pytest.raises(InvalidConfig, match="it has 6 layers: --layers must be from 1 to 5, got 6"):
        command(whole, layers=6, to=tmp_path / "smaller")
    for without in ("6", "0,1,2,3,4,5"):
        with pytest.raises(InvalidConfig, match=f"has the layers 0 to 5: --without must name .*, got {without}$"):
            command(whole, without=without, to=tmp_path / "smaller")
    for without in ("", "1,", "-1", "1;2", "1.5"):
        with pytest.raises(InvalidConfig, match="--without takes the numbers of layers"):
            command(whole, without=without, to=tmp_path / "smaller")
    for both in ({}, {"layers": 3, "without": "1"}):
        with pytest.raises(InvalidConfig, match="either --layers NUMBER or --without NUMBERS"):
            command(whole, to=tmp_path / "smaller", **both)
    with pytest.raises(InvalidConfig, match="exists already"):
        command(whole, layers=3, to=whole)
    with pytest.raises(MissingInput, match="no model that can be cut"):
        command(tmp_path / "nothing", layers=3)
    assert list(tmp_path.iterdir()) == []
