"""Model maths: logprobs are those of the full logits, chunks change nothing, the supervised loss is HF's own."""

from dataclasses import replace

import pytest
import torch

from stages.config import ModelConfig
from stages.modeling import logprobs as logprobs_module
from stages.modeling import policy_model as policy_module
from stages.modeling.attention import can_pack, uses_packing
from stages.modeling.batching import TokenBatch, lay_out, lay_out_groups
from stages.modeling.logprobs import FusedTokenLogprobs
from stages.modeling.model import load_model, load_tokenizer, new_model, save_model
from stages.modeling.policy_model import PolicyModel
from stages.modeling.sequences import Share
from stages.runtime.errors import InputError
from stages.training.supervised import TrainingRow, accumulate
from stages.worlds.tiny_world.tokenizer import build_tokenizer

TINY = ModelConfig(hidden_size=32, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=64)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture
def policy(tokenizer):
    return PolicyModel(new_model(TINY, tokenizer, seed=1))


ROWS = [(9, 3), (5, 4), (12, 1), (2, 1)]  # tokens, the first of them that is a target


def lay(rows: list[list[int]], packed: bool = False) -> TokenBatch:
    return lay_out(
        rows,
        [[place >= first for place in range(len(row))] for row, (_, first) in zip(rows, ROWS)],
        0,
        torch.device("cpu"),
        packed,
    )


@pytest.fixture
def rows(tokenizer) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(4, len(tokenizer), (length,), generator=generator).tolist() for length, _ in ROWS]


def full_log_probs(policy, input_ids, temperature=1.0):
    return torch.log_softmax(policy.model(input_ids=input_ids).logits[:, :-1].float() / temperature, -1)


def one_by_one(policy, rows, temperature=1.0):
    """Logprobs and entropies of all targets, each row by itself and from the full logits."""
    logprobs, entropies = [], []
    for row, (_, first) in zip(rows, ROWS):
        log_probs = full_log_probs(policy, torch.tensor([row]), temperature)[0, first - 1 :]
        logprobs.append(log_probs.gather(-1, torch.tensor(row[first:])[:, None])[:, 0])
        entropies.append(-(log_probs.exp() * log_probs).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_large_tied_embedding_adds_the_rows_of_its_tokens_to_the_gradient_of_the_head(
    tokenizer, rows, monkeypatch, is_tied
):
    """The same gradients, all of them dense: a sparse one would reach an optimizer that cannot take it."""
    config = replace(TINY, tie_embeddings=is_tied)
    usual = PolicyModel(new_model(config, tokenizer, seed=1))
    monkeypatch.setattr(policy_module, "LARGE_TABLE", 1)
    policy = PolicyModel(new_model(config, tokenizer, seed=1))
    assert policy.model.get_input_embeddings().sparse == is_tied
    assert not usual.model.get_input_embeddings().sparse
    for model in (policy, usual):
        for _ in range(2):  # the second pass adds to what the first one left
            model(*lay(rows).inputs)[0].sum().backward()
    assert all(parameter.grad.layout == torch.strided for parameter in policy.parameters())
    torch.testing.assert_close(gradients(policy), gradients(usual))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("chunk", "block"), [(1000, 1000), (4, 1000), (1000, 3), (4, 3)])
def test_logprobs_entropies_and_gradients_are_those_of_the_full_logits(
    policy, rows, monkeypatch, temperature, packed, chunk, block
):
    """Padded or packed, at once, in chunks or in blocks of targets: what each row gives by itself."""
    expected, entropy = one_by_one(policy, rows, temperature)
    weights = torch.arange(1.0, len(expected) + 1)
    (expected * weights).sum().backward()
    gradient = gradients(policy)
    monkeypatch.setitem(policy_module.LOGITS_PER_CHUNK, "cpu", chunk * policy.model.config.vocab_size)
    monkeypatch.setattr(logprobs_module, "LOGITS_PER_BLOCK", block * policy.model.config.vocab_size)
    batch = lay(rows, packed)
    found, entropies = PolicyModel(policy.model, packed)(*batch.inputs, temperature=temperature)
    (found * weights).sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(entropies, entropy)
    torch.testing.assert_close(gradients(policy), gradient, atol=1e-5, rtol=1e-4)
    assert not entropies.requires_grad
    assert batch.sequence_N.tolist() == [i for i, (length, first) in enumerate(ROWS) for _ in range(length - first)]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_arithmetic_of_the_fused_kernels(monkeypatch, temperature):
    """What a GPU computes, uncompiled (compiled: tests/engines/test_gpu.py), against autograd in float64; rows with
    logits far from zero too.
    """
    monkeypatch.setattr(logprobs_module, "compiled", lambda function: function)
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(37, 501, generator=generator) + 100 * torch.randn(37, 1, generator=generator)
    targets, weights = torch.randint(501, (37,), generator=generator), torch.randn(37, generator=generator)
    exact = logits.double().requires_grad_()
    log_probs = torch.log_softmax(exact / temperature, 1)
    expected = log_probs.gather(1, targets[:, None])[:, 0]
    (expected * weights).sum().backward()
    logits.requires_grad_()
    found, entropies = FusedTokenLogprobs.apply(logits, targets, temperature, True)
    (found * weights).sum().backward()
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(entropies.double(), -(log_probs.exp() * log_probs).sum(1), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(logits.grad.double(), exact.grad, atol=1e-4, rtol=1e-4)
    assert not entropies.requires_grad and not FusedTokenLogprobs.apply(logits, targets, temperature, False)[1].any()


def test_a_prompt_in_one_place_gives_what_each_row_gives_by_itself(policy, tokenizer):
    """Logprobs, entropies and gradients, two prompts of 5 and 1 tokens with three and two completions."""
    generator = torch.Generator().manual_seed(3)
    draw = lambda length: torch.randint(4, len(tokenizer), (length,), generator=generator).tolist()
    first, second = draw(5), draw(1)
    prompts, completions = [first] * 3 + [second] * 2, [draw(7), draw(1), draw(4), draw(1), draw(6)]
    rows = [prompt + completion for prompt, completion in zip(prompts, completions)]
    targets = [[False] * len(prompt) + [True] * len(completion) for prompt, completion in zip(prompts, completions)]
    alone = lay_out(rows, targets, 0, torch.device("cpu"))
    expected, entropy = policy(*alone.inputs)
    weights = torch.arange(1.0, len(expected) + 1)
    (expected * weights).sum().backward()
    gradient = gradients(policy)
    batch = lay_out_groups(prompts, completions, pad_id=0)
    found, entropies = PolicyModel(policy.model, packed=True)(*batch.inputs)
    (found * weights).sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(entropies, entropy)
    torch.testing.assert_close(gradients(policy), gradient, atol=1e-5, rtol=1e-4)
    assert (
        batch.targets_N.tolist() == alone.targets_N.tolist() and batch.sequence_N.tolist() == alone.sequence_N.tolist()
    )


def test_no_more_logits_than_a_chunk_exist_at_once(policy, rows, monkeypatch):
    """The head's products, forward and backward: [4, vocabulary] at most."""
    monkeypatch.setitem(policy_module.LOGITS_PER_CHUNK, "cpu", 4 * policy.model.config.vocab_size)
    sizes = []
    policy.model.lm_head.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    policy(*lay(rows).inputs)[0].sum().backward()
    assert max(sizes) == 4 and sum(sizes) == 2 * sum(
        length - first for length, first in ROWS
    )  # each again in the backward pass


def test_packing_needs_plain_causal_attention(policy):
    assert (
        can_pack(policy.model)
        and uses_packing("on", policy.model, "fp32")
        and not uses_packing("off", policy.model, "bf16")
    )
    assert uses_packing("auto", policy.model, "fp32") != torch.cuda.is_available()
    policy.model.config.sliding_window = 8
    assert not can_pack(policy.model) and not uses_packing("auto", policy.model, "bf16")
    with pytest.raises(InputError, match="packing=off"):
        uses_packing("on", policy.model, "fp32")


def gradients(policy) -> torch.Tensor:
    flat = torch.cat([p.grad.flatten() for p in policy.parameters()])
    policy.zero_grad()
    return flat


@pytest.mark.parametrize("packed", [False, True])
def test_an_empty_micro_batch_reaches_every_parameter(policy, packed):
    """Under ZeRO 2-3 every rank must take part in every backward pass; the gradient is zero."""
    policy = PolicyModel(policy.model, packed)
    logprobs, entropies = policy(*lay_out([], [], 0, torch.device("cpu"), packed).inputs)
    assert len(logprobs) == len(entropies) == 0
    (logprobs.sum() * 1.0).backward()
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())


class Alone:
    """A worker of one process, and an engine that is a bare module."""

    world_size, rank, share = 1, 0, Share(1, 0, True)

    def __init__(self, module):
        self.module, self.device = module, torch.device("cpu")

    def __call__(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def backward(self, loss):
        loss.backward()


def some_samples(count: int, vocabulary: int) -> list[TrainingRow]:
    generator = torch.Generator().manual_seed(5)
    samples = []
    for index in range(count):
        ids = torch.randint(4, vocabulary, (4 + 3 * index,), generator=generator).tolist()
        samples.append(TrainingRow(ids, [0.0] * 2 + [1.0] * (len(ids) - 2)))
    return samples


def test_supervised_loss_is_hf_own(policy):
    """Weights 0 and 1 are HF's label -100 and not; the mean runs over all targets of the batch."""
    samples = some_samples(4, policy.model.config.vocab_size)
    alone = Alone(policy)
    loss, num_tokens = accumulate(alone, alone, samples, 1000, pad_id=0)
    gradient = gradients(policy)
    width = max(len(s.token_ids) for s in samples)
    input_ids = torch.tensor([s.token_ids + [0] * (width - len(s.token_ids)) for s in samples])
    labels = torch.tensor(
        [
            [i if w else -100 for i, w in zip(s.token_ids, s.weights)] + [-100] * (width - len(s.token_ids))
            for s in samples
        ]
    )
    expected = policy.model(input_ids=input_ids, labels=labels).loss
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert num_tokens == sum(len(s.token_ids) for s in samples)
    torch.testing.assert_close(gradient, gradients(policy), atol=1e-7, rtol=1e-5)


def test_fractional_weights_are_a_weighted_mean(policy):
    samples = [TrainingRow([1, 5, 6, 7], [1.0, 0.05, 1.0, 0.5]), TrainingRow([1, 9], [1.0, 0.25])]
    alone = Alone(policy)
    loss, _ = accumulate(alone, alone, samples, 1000, pad_id=0)
    first, second = (
        full_log_probs(policy, torch.tensor([[1, 5, 6, 7]]))[0],
        full_log_probs(policy, torch.tensor([[1, 9]]))[0],
    )
    total = 0.05 * first[0, 5] + 1.0 * first[1, 6] + 0.5 * first[2, 7] + 0.25 * second[0, 9]
    assert loss == pytest.approx(-total.item() / 1.8, rel=1e-5)


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_a_saved_model_loads_again(tokenizer, tmp_path, tie_embeddings):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = ModelConfig(
        hidden_size=32, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=64, tie_embeddings=tie_embeddings
    )
    model = new_model(config, tokenizer, seed=1)
    save_model(model, {name: p.detach() for name, p in model.named_parameters()}, tokenizer, tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values()):
        assert torch.equal(a, b), name
    text = "User:31-3?Assistant:<think>"
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert load_tokenizer(tmp_path).eos_token == "<eos>" and load_model(tmp_path).dtype == torch.float32


def test_unusable_directories_are_bad_input(tmp_path, tokenizer):
    with pytest.raises(InputError, match="no usable tokenizer"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match="no usable model"):
        load_model(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no usable model"):
        load_model(tmp_path)
