"""Other people's families: logprobs are those of their own forward pass, packed or padded, or they are refused."""

import pytest
import torch

from stages.modeling import policy_model as policy_module
from stages.modeling.attention import can_pack
from stages.modeling.batching import lay_out, lay_out_groups
from stages.modeling.head import head_kind, own_logits
from stages.modeling.model import new_model
from stages.modeling.policy_model import PolicyModel
from stages.modeling.ready import ready_classifier, ready_policy, ready_scorer, require_rows
from stages.modeling.reward_model import reward_scores, rewards_of_groups
from stages.runtime.errors import InputError
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support.families import VOCABULARY, classifier, tiny

CPU = torch.device("cpu")


class FewTokens:
    """What of a tokenizer says which token pads, and how many tokens there are."""

    pad_token_id, bos_token_id, eos_token_id = 0, 1, 2

    def __init__(self, count: int = VOCABULARY):
        self.count, self.name_or_path = count, ""

    def __len__(self) -> int:
        return self.count


def ready(family: str, packing: str = "auto", dropout: bool = False, model=None, precision: str = "fp32"):
    """The policy, and what was said."""
    said: list[str] = []
    model = model or tiny(family)
    return ready_policy(model, FewTokens(), packing, precision, said.append, dropout), said


PROMPTS = [[5, 6, 7], [5, 6, 7], [9]]
COMPLETIONS = [[11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22], [31], [41, 42, 43, 44]]


def own_logprobs(model, temperature: float = 1.0) -> torch.Tensor:
    """Of all completion tokens, by the model's own forward pass on each row alone."""
    parts = []
    for prompt, completion in zip(PROMPTS, COMPLETIONS):
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].float()
        parts.append(torch.log_softmax(logits / temperature, -1).gather(1, torch.tensor(completion)[:, None])[:, 0])
    return torch.cat(parts)


def batch_for(policy):
    if policy.packed:
        return lay_out_groups(PROMPTS, COMPLETIONS, 0)
    rows = [prompt + completion for prompt, completion in zip(PROMPTS, COMPLETIONS)]
    targets = [[False] * len(p) + [True] * len(c) for p, c in zip(PROMPTS, COMPLETIONS)]
    return lay_out(rows, targets, 0, CPU)


# family: (how its logits come from hidden states, what is said where its rows cannot be packed; None: they can)
FAMILIES = {
    "llama": ("linear", None),
    "llama_tied": ("linear", None),
    "qwen3_moe": ("linear", None),
    "qwen2_moe": ("linear", None),
    "mixtral": ("linear", None),
    "gemma2": ("capped", "full attention"),
    "mistral_window": ("linear", "sliding window"),
    "phi": ("linear", None),
    "granite": ("own", None),
    "cohere": ("own", None),
    "cohere2": ("own", "full attention"),
    "falcon_h1": ("own", "cannot replace"),
    "nemotron": ("linear", "where sequences begin"),
    "gpt2": ("linear", None),
    "gpt_neo": ("linear", "cannot replace"),
    "opt": ("linear", None),
    "bloom": ("linear", "cannot replace"),
    "falcon": ("linear", "cannot replace"),
    "mamba": ("linear", "cannot replace"),
    "deepseek_v3": ("linear", None),
    "gpt_oss": ("linear", "full attention"),
    "llama4": ("linear", "full attention"),
    "recurrent_gemma": ("own", "sliding window"),
    "lfm2": ("linear", "full attention"),
    "bert_decoder": ("own", None),
    "nanochat": ("capped", None),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_training_computes_what_the_family_itself_does(family):
    """Logprobs, their gradient, the same in chunks; in training mode, so that no dropout is left."""
    head, why_padded = FAMILIES[family]
    model = tiny(family)
    kept = model.config.to_dict()
    policy, said = ready(family, model=model)
    assert policy.head == head and policy.packed == (why_padded is None)
    assert len(said) == (why_padded is not None) and (why_padded or "") in "".join(said)
    batch = batch_for(policy)
    policy.train()
    found, _ = policy(*batch.inputs, temperature=0.7)
    found.sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    policy.zero_grad()
    reference = tiny(family).eval()
    expected = own_logprobs(reference, 0.7)
    expected.sum().backward()
    own_gradient = torch.cat([p.grad.flatten() for p in reference.parameters() if p.grad is not None])
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=1e-5)
    torch.testing.assert_close(gradient, own_gradient, atol=1e-4, rtol=1e-3)
    assert model.config.to_dict() == kept, "the export says what the family's configuration said"


@pytest.mark.parametrize("family", ["granite", "falcon_h1", "gemma2", "bert_decoder"])
def test_a_head_of_ones_own_comes_in_chunks(family, monkeypatch):
    """No more logits than a chunk exist at once, and the numbers and gradients are the same."""
    policy, _ = ready(family)
    batch = batch_for(policy)
    results, sizes = [], []
    policy.model.get_output_embeddings().register_forward_hook(lambda *call: sizes.append(call[-1].numel()))
    for chunk in (1000, 4):
        monkeypatch.setitem(policy_module.LOGITS_PER_CHUNK, "cpu", chunk * VOCABULARY)
        sizes.clear()
        found, _ = policy(*batch.inputs)
        found.sum().backward()
        results.append(
            (found.detach(), torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]))
        )
        policy.zero_grad()
    assert max(sizes) <= 4 * VOCABULARY
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["granite", "cohere", "bert_decoder"])
def test_an_empty_micro_batch_reaches_every_parameter_of_such_a_head(family):
    policy, _ = ready(family, packing="off")
    logprobs, _ = policy(*lay_out([], [], 0, CPU).inputs)
    logprobs.sum().backward()
    assert policy.model.get_output_embeddings().weight.grad is not None


@pytest.mark.parametrize("changes", [{"logit_scale": 1.0}, {"logit_scale": 1.0000001}, {"logit_scale": 3.0}])
def test_a_scale_is_seen_however_small(changes):
    model = tiny("cohere", **changes)
    assert head_kind(model) == ("linear" if changes["logit_scale"] == 1.0 else "own")
    hidden = torch.randn(3, 32)
    torch.testing.assert_close(own_logits(model, hidden), model.lm_head(hidden) * changes["logit_scale"])


def test_the_recipes_own_model_takes_the_plain_way():
    tokenizer = build_tokenizer()
    from stages.config import ModelConfig

    model = new_model(ModelConfig(hidden_size=32, num_layers=1, num_heads=2, num_kv_heads=1), tokenizer, 1)
    state = torch.get_rng_state()
    policy = ready_policy(model, tokenizer, "auto", "fp32", lambda line: None)
    assert policy.head == "linear" and policy.packed and torch.equal(torch.get_rng_state(), state)
    assert model.training and all(p.grad is None for p in policy.parameters())


@pytest.mark.parametrize("family", ["nemotron", "mistral_window", "gemma2", "gpt_oss", "llama4", "lfm2", "mamba"])
def test_packing_that_is_asked_for_is_refused_where_it_would_be_wrong(family):
    with pytest.raises(InputError, match=r"packing=on, but .* packing=off"):
        ready(family, packing="on")
    assert not ready(family, packing="off")[0].packed


@pytest.mark.parametrize(
    "family", ["lfm2", "granite_hybrid", "gemma2", "mistral_window", "llama4", "gpt_oss", "nemotron"]
)
def test_trying_finds_what_a_configuration_could_hide(family, monkeypatch):
    """Windows longer than the rows, state that leaks, boundaries that never arrive: without a look at class flags."""
    monkeypatch.setattr("stages.modeling.ready.cannot_pack", lambda model: None)
    policy, said = ready(family)
    assert not policy.packed and len(said) == 1
    torch.testing.assert_close(
        policy(*batch_for(policy).inputs)[0], own_logprobs(tiny(family).eval()), atol=5e-6, rtol=1e-5
    )


@pytest.mark.parametrize("family", ["lfm2", "granite_hybrid"])
def test_state_that_leaks_is_found_in_half_precision_too(family, monkeypatch):
    monkeypatch.setattr("stages.modeling.ready.cannot_pack", lambda model: None)
    policy, said = ready(family, model=tiny(family).to(torch.bfloat16), precision="bf16")
    assert not policy.packed and "depends on" in said[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["bert", "xlnet"])
def test_a_model_that_sees_later_tokens_is_refused(family, dtype):
    with pytest.raises(InputError, match=r"cannot be trained: .* rows"):
        ready(family, model=tiny(family).to(dtype))


def test_logits_that_only_the_model_knows_are_refused():
    """A forward pass that does what no head can be derived from: it looks at the tokens, not at hidden states alone."""
    model = tiny("llama")
    forward = type(model).forward

    class Odd(type(model)):
        def forward(self, input_ids=None, **more):
            output = forward(self, input_ids=input_ids, **more)
            output.logits = output.logits + torch.nn.functional.one_hot(input_ids, VOCABULARY)
            return output

    model.__class__ = Odd
    with pytest.raises(InputError, match=r"Odd cannot be trained: log-probabilities in padded rows differ by"):
        ready("", model=model)


# every kind of chance in training: hidden layers, attention, embeddings, whole layers, the router's jitter
CHANCE = {
    "gpt2": {"resid_pdrop": 0.3, "attn_pdrop": 0.3, "embd_pdrop": 0.3},
    "opt": {"dropout": 0.3, "attention_dropout": 0.3, "layerdrop": 0.9},
    "llama": {"attention_dropout": 0.3},
    "mixtral": {"router_jitter_noise": 0.3, "attention_dropout": 0.3},
    "gpt_neox": {"hidden_dropout": 0.3, "attention_dropout": 0.3},
    "falcon": {"hidden_dropout": 0.3, "attention_dropout": 0.3},
    "gptj": {"resid_pdrop": 0.3, "attn_pdrop": 0.3, "embd_pdrop": 0.3},
    "gpt_neo": {"resid_dropout": 0.3, "attention_dropout": 0.3, "embed_dropout": 0.3},
    "bloom": {"hidden_dropout": 0.3, "attention_dropout": 0.3},
    "gemma2": {"attention_dropout": 0.3},
    "starcoder2": {"residual_dropout": 0.3, "embedding_dropout": 0.3, "attention_dropout": 0.3},
    "xglm": {"dropout": 0.3, "attention_dropout": 0.3, "activation_dropout": 0.3, "layerdrop": 0.9},
}


@pytest.mark.parametrize("family", CHANCE)
def test_no_chance_is_left_in_training(family):
    policy, _ = ready(family, model=tiny(family, **CHANCE[family]))
    policy.train()
    batch = batch_for(policy)
    torch.manual_seed(1)
    first = policy(*batch.inputs)[0]
    torch.manual_seed(2)
    assert torch.equal(first, policy(*batch.inputs)[0])
    policy.eval()
    torch.testing.assert_close(first, policy(*batch.inputs)[0], atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_dropout_that_is_asked_for_acts(family):
    rates = {name: rate for name, rate in CHANCE[family].items() if name != "layerdrop"}  # no layer might be left
    policy, _ = ready(family, dropout=True, model=tiny(family, **rates))
    policy.train()
    batch = batch_for(policy)
    torch.manual_seed(1)
    first = policy(*batch.inputs)[0]
    torch.manual_seed(2)
    assert not torch.allclose(first, policy(*batch.inputs)[0])


def test_more_tokens_than_rows_are_refused():
    with pytest.raises(InputError, match=r"has 97 tokens, but the embedding of LlamaForCausalLM has 96 rows"):
        require_rows(tiny("llama"), FewTokens(97))
    require_rows(tiny("llama"), FewTokens(90))


def test_a_token_that_a_tokenizer_s_class_adds_needs_no_row_unless_it_has_a_role(tmp_path):
    """AutoTokenizer reads the directory of a Qwen2 with Qwen2Tokenizer, which adds a token of its own."""
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 95}}}')
    tokenizer = FewTokens(97)
    tokenizer.name_or_path = str(tmp_path)
    require_rows(tiny("llama"), tokenizer)
    tokenizer.pad_token_id = 96
    with pytest.raises(InputError, match="has 97 tokens"):
        require_rows(tiny("llama"), tokenizer)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "mistral_window"])
def test_reward_models_of_other_families(family):
    scalar = ready_classifier(classifier(family, **CHANCE.get(family, {})), FewTokens())
    row = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(scalar(row), scalar(row)) and scalar.training


@pytest.mark.parametrize("end", [0, 2])  # the token that pads, or another one
@pytest.mark.parametrize(
    ("family", "packed"), [("llama", True), ("qwen3", True), ("gpt2", True), ("mistral_window", False)]
)
def test_rewards_are_those_of_the_classifier_by_itself_however_rows_are_laid_out(family, packed, end):
    """Where a tokenizer pads with its end of sequence, transformers reads the token before the end."""
    model = classifier(family).eval()
    completions = [completion + [end] for completion in COMPLETIONS]
    completions[1] = [end]
    rows = [prompt + completion for prompt, completion in zip(PROMPTS, completions)]
    with torch.no_grad():
        expected = [model(input_ids=torch.tensor([row])).logits.item() for row in rows]
    scorer = ready_scorer(model, packed=True)
    assert scorer.packed == packed
    assert reward_scores(scorer, rows, 20) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    if not packed:
        return
    order = [0, 2, 1]
    split = [PROMPTS[i] for i in order], [completions[i] for i in order]
    for micro_batch_tokens in (5, 100):
        found = rewards_of_groups(scorer, *split, micro_batch_tokens)
        assert found == pytest.approx([expected[i] for i in order], rel=1e-4, abs=1e-5)
    assert rewards_of_groups(scorer, [], [], 100) == []


def test_a_reward_model_is_padded_beside_a_policy_that_is():
    assert not ready_scorer(classifier("llama"), packed=False).packed


def test_can_pack_looks_at_the_configuration_alone():
    assert can_pack(tiny("llama")) and not can_pack(tiny("mistral_window")) and not can_pack(tiny("mamba"))
    assert PolicyModel(tiny("granite")).head == "own"
