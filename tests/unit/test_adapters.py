"""Adapters: sums worked by hand, the base with adapters off, full rank as full fine-tuning, and what is refused."""

import math

import pytest
import torch
from peft import LoraConfig as LoraConfigOfPeft
from peft import inject_adapter_in_model
from peft.tuners.lora import Linear as LinearOfPeft
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from scripts.family_tools.families import FAMILIES, make_model
from stages.config import LoraConfig, OptimConfig
from stages.engines.optimizers import ReplicatedOptimizer
from stages.engines.weights import has_names_of_its_own, named_weights
from stages.modeling.adapter_targets import heads_of
from stages.modeling.adapters import POLICY, REFERENCE, Adapters, add_adapters
from stages.modeling.fused_adapters import AdaptedProduct, FusedLinear
from stages.modeling.policy_model import PolicyModel
from stages.runtime.errors import InputError

# One of each kind: fused layers, Conv1D, tied heads, fused and shared experts, latent attention, state spaces
TOLD = ["Llama", "Qwen2", "Qwen3", "Gemma 3", "Phi-3", "GPT-2", "GPT-NeoX", "Qwen2-MoE", "Mixtral", "DeepSeek-V3"]
TOLD += ["Falcon-H1"]


def quiet(text: str) -> None:
    """Takes what would be said."""


def adapted(model, seed: int = 7, has_reference: bool = False, **config) -> Adapters:
    return add_adapters(model, LoraConfig(**{"rank": 4, **config}), seed, quiet, has_reference)


def small_llama(width: int = 2, **changes) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = {"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 3, "vocab_size": 7, **changes}
    return LlamaForCausalLM(LlamaConfig(hidden_size=width, tie_word_embeddings=False, **config)).eval()


def merged(adapters: Adapters, name: str) -> torch.Tensor:
    return next(weight for weight in adapters.weights(adapters.model) if weight.name == name).compute()


def set_adapter(layer, first, second) -> None:
    with torch.no_grad():
        layer.lora_A[POLICY].weight.copy_(torch.tensor(first))
        layer.lora_B[POLICY].weight.copy_(torch.tensor(second))


@torch.no_grad()
def shake(adapters: Adapters, size: float = 0.05) -> None:
    """Gives the adapters, and what is trained whole, other values."""
    torch.manual_seed(1)
    for _, parameter in adapters.state(adapters.model):
        parameter.add_(torch.randn_like(parameter) * size)


def test_a_merge_worked_by_hand():
    """W + alpha / rank * B A; B A = [[2], [0.5]] [[1, -1]] = [[2, -2], [0.5, -0.5]], three times that is added."""
    model = small_llama()
    layer = model.model.layers[0].self_attn
    layer.q_proj.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    adapters = adapted(model, rank=1, alpha=3.0, targets=["q_proj"])
    set_adapter(layer.q_proj, [[1.0, -1.0]], [[2.0], [0.5]])
    assert merged(adapters, "model.layers.0.self_attn.q_proj.weight").tolist() == [[7.0, -4.0], [4.5, 2.5]]
    assert layer.q_proj.base_layer.weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert layer.q_proj(torch.tensor([1.0, 1.0])).tolist() == [3.0, 7.0]  # the sums of the rows, as of the merged one


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("width, height", [(6, 5), (5, 6)])
def test_a_fused_layer_computes_what_pefts_layer_does(bias, width, height):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, height, bias=bias))
    inject_adapter_in_model(LoraConfigOfPeft(r=2, lora_alpha=6, target_modules=["0"], bias="none"), model)
    layer, given = model[0], torch.randn(3, 4, width, dtype=torch.double)
    layer.double().lora_B[POLICY].weight.data.normal_()
    results = []
    for kind in (LinearOfPeft, FusedLinear):
        assert type(layer) is LinearOfPeft
        layer.__class__ = kind
        x = given.clone().requires_grad_()
        output = layer(x)
        output.square().sum().backward()
        layer.__class__ = LinearOfPeft
        factors = [layer.lora_A[POLICY].weight, layer.lora_B[POLICY].weight]
        results.append([output.detach(), x.grad, *(factor.grad for factor in factors)])
        layer.zero_grad()
        assert layer.base_layer.weight.grad is None
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    fused = layer.lora_A[POLICY].weight, layer.lora_B[POLICY].weight
    assert torch.autograd.gradcheck(
        lambda x, a, b: AdaptedProduct.apply(x, layer.base_layer.weight, layer.base_layer.bias, a, b, 3.0),
        (given.requires_grad_(), *fused),
    )


def test_a_fused_layer_leaves_to_peft_what_it_does_not_know():
    model = small_llama(width=8)
    adapters = adapted(model, targets=["q_proj"], has_reference=True)
    layer, x = model.model.layers[0].self_attn.q_proj, torch.randn(2, 8)
    assert type(layer) is FusedLinear and layer._only_plain_adapter(x) == POLICY
    with adapters.using(REFERENCE):
        assert layer._only_plain_adapter(x) == REFERENCE
    with adapters.using(None):
        assert layer._only_plain_adapter(x) is None
        assert torch.equal(layer(x), layer.base_layer(x))
    assert layer._only_plain_adapter(x.double()) is None
    layer.base_layer.weight.ds_status = "partitioned"
    assert layer._only_plain_adapter(x) is None
    for config in ({"dropout": 0.1}, {"dora": True}):
        model = small_llama(width=8)
        adapted(model, targets=["q_proj"], **config)
        assert model.model.layers[0].self_attn.q_proj._only_plain_adapter(x) is None


def test_rslora_divides_by_the_root_of_the_rank():
    """alpha / sqrt(rank) = 4 / sqrt(4) = 2, where plain LoRA has 4 / 4 = 1."""
    for rslora, scale in ((True, 2.0), (False, 1.0)):
        model = small_llama(width=8)
        layer = model.model.layers[0].self_attn
        layer.q_proj.weight.data.zero_()
        adapters = adapted(model, rank=4, alpha=4.0, rslora=rslora, targets=["q_proj"])
        set_adapter(layer.q_proj, torch.eye(4, 8).tolist(), torch.eye(8, 4).tolist())
        found = merged(adapters, "model.layers.0.self_attn.q_proj.weight")
        assert torch.equal(found, torch.diag(torch.tensor([scale] * 4 + [0.0] * 4)))


def test_a_layer_that_keeps_its_weight_transposed():
    """GPT-2's Conv1D holds [in, out]: the product is transposed before it is added."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_embd=2, n_layer=1, n_head=1, vocab_size=7, n_positions=8)).eval()
    layer = model.transformer.h[0].mlp
    layer.c_proj.weight.data = torch.arange(16.0).reshape(8, 2)
    adapters = adapted(model, rank=1, alpha=2.0, targets=["mlp.c_proj"])
    set_adapter(layer.c_proj, [[0.0, 1.0] + [0.0] * 6], [[1.0], [10.0]])
    found = merged(adapters, "transformer.h.0.mlp.c_proj.weight")
    assert found.tolist()[:3] == [[0.0, 1.0], [2.0 + 2.0, 3.0 + 20.0], [4.0, 5.0]]


def test_dora_worked_by_hand():
    """Each row of W + B A is brought to its own length, which begins as that of the row of W and is trained too.

    Rows of W: [3, 4] of length 5, [0, 2] of length 2. With B A = [[0, 0], [1.5, 0]] the second becomes [1.5, 2] of
    length 2.5, so 2 / 2.5 * [1.5, 2] = [1.2, 1.6]. The length of the first is set to 10: [6, 8].
    """
    model = small_llama()
    layer = model.model.layers[0].self_attn
    layer.q_proj.weight.data = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    adapters = adapted(model, rank=1, alpha=1.0, dora=True, targets=["q_proj"])
    name = "model.layers.0.self_attn.q_proj.weight"
    lengths = layer.q_proj.lora_magnitude_vector[POLICY].weight
    assert lengths.tolist() == [5.0, 2.0]
    assert torch.allclose(merged(adapters, name), torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    set_adapter(layer.q_proj, [[1.5, 0.0]], [[0.0], [1.0]])
    lengths.data[0] = 10.0
    assert torch.allclose(merged(adapters, name), torch.tensor([[6.0, 8.0], [1.2, 1.6]]))
    assert torch.allclose(layer.q_proj(torch.tensor([1.0, 1.0])), torch.tensor([14.0, 2.8]))
    assert layer.q_proj.base_layer.weight.tolist() == [[3.0, 4.0], [0.0, 2.0]] and not layer.q_proj.merged


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", TOLD)
def test_what_the_adapters_of_a_family_amount_to(family, dora):
    """At first, and with adapters off, the model is the base to the last bit; the merged weights do what the adapters
    do; each adapter gets a gradient.
    """
    model = make_model(family).eval()
    before = {name: tensor.clone() for name, tensor in named_weights(model)}
    ids = torch.randint(5, 60, (2, 9), generator=torch.Generator().manual_seed(3))
    base = model(input_ids=ids, use_cache=False).logits
    adapters = adapted(model, has_reference=True, dora=dora)
    first = model(input_ids=ids, use_cache=False).logits
    assert torch.equal(first, base) or (dora and torch.allclose(first, base, atol=1e-5))
    shake(adapters)
    trained = model(input_ids=ids, use_cache=False).logits
    with adapters.using(None):
        assert torch.equal(model(input_ids=ids, use_cache=False).logits, base)
    with adapters.using(REFERENCE):
        assert torch.equal(model(input_ids=ids, use_cache=False).logits, first)
    assert torch.equal(model(input_ids=ids, use_cache=False).logits, trained)
    weights = {weight.name: weight.compute() for weight in adapters.weights(model)}
    assert list(weights) == list(before)
    fresh = make_model(family).eval()
    for name, tensor in named_weights(fresh):
        tensor.data.copy_(weights[name])
    assert torch.allclose(fresh(input_ids=ids, use_cache=False).logits, trained, atol=2e-5)
    assert (trained - base).abs().max() > 0.05
    trained.square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(POLICY in name and grad is not None and grad.any() for name, grad in gradients.items()), family
    renames = has_names_of_its_own(model, ((weight.name, weight.like) for weight in adapters.weights(model)))
    assert renames == has_names_of_its_own(fresh)


def test_every_family_has_layers_for_adapters():
    for family in FAMILIES:
        model = make_model(family)
        adapters = adapted(model)
        parts = {name.rpartition(".")[2] for name in adapters.targets}
        assert parts and not parts & {"lm_head", "embed_out", "gate", "router", "shared_expert_gate", "embed_tokens"}


def test_what_is_drawn_first_follows_from_the_seed_alone():
    found = []
    for before, seed in ((1, 3), (2, 3), (1, 4)):
        model = small_llama(8)
        torch.manual_seed(before)
        state = torch.get_rng_state()
        found.append({name: p.clone() for name, p in adapted(model, seed=seed).state(model)})
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


def train(model, config: OptimConfig, num_steps: int = 20) -> list[float]:
    """The losses of a few steps on random rows of five tokens, by the optimizer and the forward pass of the stages."""
    policy = PolicyModel(model)
    optimizer = ReplicatedOptimizer(policy.named_parameters(), config)
    generator = torch.Generator().manual_seed(11)
    losses = []
    for _ in range(num_steps):
        ids = torch.randint(0, 5, (4, 12), generator=generator)
        places = torch.arange(4 * 12).reshape(4, 12)[:, :-1].flatten()
        logprobs_N, _ = policy(ids, places, ids[:, 1:].flatten(), with_entropy=False)
        loss = -logprobs_N.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


WHOLE = ["embed_tokens", "lm_head", "input_layernorm", "post_attention_layernorm", "norm"]


@pytest.mark.parametrize("num_heads, num_kv_heads, intermediate_size", [(2, 1, 96), (4, 4, 40)])
def test_full_rank_trains_as_all_weights_do(num_heads, num_kv_heads, intermediate_size):
    """Rank = width = alpha, with everything that is no linear layer trained whole: the same losses, and weights."""
    shape = {
        "num_hidden_layers": 2,
        "num_attention_heads": num_heads,
        "num_key_value_heads": num_kv_heads,
        "intermediate_size": intermediate_size,
        "vocab_size": 50,
    }
    optim = OptimConfig(lr=3e-3, grad_clip=1.0)
    whole, low = small_llama(32, **shape), small_llama(32, **shape)
    expected = train(whole, optim)
    adapters = adapted(low, rank=32, alpha=32.0, whole=WHOLE)
    found = train(low, optim)
    assert found == pytest.approx(expected, abs=1e-4) and expected[0] - expected[-1] > 0.5
    weights = dict(named_weights(whole))
    for weight in adapters.weights(low):
        assert torch.allclose(weight.compute(), weights[weight.name], atol=2e-3), weight.name


def test_a_low_rank_trains_otherwise():
    """So that the test before this one can fail."""
    model, low = (
        small_llama(32, num_hidden_layers=2, vocab_size=50),
        small_llama(32, num_hidden_layers=2, vocab_size=50),
    )
    optim = OptimConfig(lr=3e-3)
    expected = train(model, optim)
    adapted(low, rank=16, alpha=16.0, whole=WHOLE)
    assert train(low, optim) != pytest.approx(expected, abs=1e-3)


def test_what_is_trained_whole_is_whole_in_the_weights_and_off_in_the_reference():
    model = small_llama(8)
    base = model(input_ids=torch.tensor([[1, 2, 3]])).logits
    adapters = adapted(model, has_reference=True, whole=["lm_head", "model.norm"])
    assert adapters.whole == ["lm_head", "model.norm"]
    shake(adapters, 0.5)
    weights = {weight.name: weight.compute() for weight in adapters.weights(model)}
    assert torch.equal(weights["lm_head.weight"], model.lm_head.modules_to_save[POLICY].weight)
    assert not torch.equal(weights["model.norm.weight"], torch.ones(8))
    with adapters.using(None):
        assert torch.equal(model(input_ids=torch.tensor([[1, 2, 3]])).logits, base)
    names = {name for name, _ in adapters.state(model)}
    assert {"lm_head.modules_to_save.weight", "model.norm.modules_to_save.weight"} < names


def test_the_head_of_a_classifier_is_found():
    from transformers import LlamaForSequenceClassification

    config = small_llama(8).config
    config.num_labels, config.pad_token_id = 1, 0
    model = LlamaForSequenceClassification(config)
    assert heads_of(model) == ("score",)
    adapters = add_adapters(model, LoraConfig(rank=2), 0, quiet, whole=heads_of(model))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert "score.modules_to_save.default.weight" in trained and not any("score" in name for name in adapters.targets)
    assert "score.weight" in [weight.name for weight in adapters.weights(model)]


@pytest.mark.parametrize(
    "family, config, message",
    [
        ("Llama", {"targets": ["q_prj"]}, "no linear layer 'q_prj'; did you mean q_proj?"),
        ("Llama", {"targets": ["banana"]}, "no linear layer 'banana'; there are q_proj, k_proj"),
        ("Llama", {"rank": 65}, "lora.rank 65 is larger than the width of the model, 64"),
        ("Qwen2", {"targets": ["q_proj", "lm_head"]}, "lm_head is tied to the embeddings"),
        ("Qwen2", {"whole": ["embed_tokens"]}, "model.embed_tokens shares its weights with another module"),
        ("Llama", {"whole": ["mlp"]}, "model.layers.0.mlp holds model.layers.0.mlp.gate_proj, which gets an adapter"),
        ("Llama", {"whole": ["norms"]}, "has no module 'norms'; did you mean norm?"),
        ("Mixtral", {"targets": ["experts"]}, "model.layers.0.mlp.experts is a MixtralExperts, not a linear layer"),
        ("Mamba", {"targets": ["dt_proj"]}, "reads the weight of backbone.layers.0.mixer.dt_proj past the layer"),
        ("Llama", {"targets": ["embed_tokens"]}, "model.embed_tokens is a Embedding, not a linear layer"),
    ],
)
def test_what_cannot_be_done_is_refused(family, config, message):
    with pytest.raises(InputError) as caught:
        adapted(make_model(family), **config)
    assert message in str(caught.value)


def test_an_untied_head_can_have_an_adapter():
    model = make_model("Llama")
    adapters = adapted(model, targets=["lm_head", "q_proj"])
    assert len(adapters.targets) == 3 and not math.isnan(merged(adapters, "lm_head.weight").sum().item())
