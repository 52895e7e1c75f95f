"""Model maths: logprobs are those of the full logits, chunks change nothing, the supervised loss is HF's own."""
import pytest
import torch

from stages import model as model_module
from stages.config import ModelConfig
from stages.model import PolicyModel, load_model, load_tokenizer, new_model, save_model
from stages.supervised import Sample, accumulate
from stages.tiny_world.tokenizer import build_tokenizer
from stages.worker import InputError

TINY = ModelConfig(hidden_size=32, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=64)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture
def policy(tokenizer):
    return PolicyModel(new_model(TINY, tokenizer, seed=1))


@pytest.fixture
def batch(tokenizer):
    """Three rows of 9 tokens, scored from the 3rd, 5th and 8th target on."""
    input_ids = torch.randint(0, len(tokenizer), (3, 9), generator=torch.Generator().manual_seed(0))
    is_target = torch.arange(8)[None] >= torch.tensor([2, 4, 7])[:, None]
    return input_ids, is_target


def full_log_probs(policy, input_ids, temperature=1.0):
    return torch.log_softmax(policy.model(input_ids=input_ids).logits[:, :-1].float() / temperature, -1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_entropies_are_those_of_the_full_logits(policy, batch, temperature):
    input_ids, is_target = batch
    logprobs, entropies = policy(input_ids, is_target, temperature=temperature)
    expected = full_log_probs(policy, input_ids, temperature)
    torch.testing.assert_close(logprobs, expected.gather(-1, input_ids[:, 1:, None])[..., 0][is_target])
    torch.testing.assert_close(entropies, -(expected.exp() * expected).sum(-1)[is_target])
    assert not entropies.requires_grad


def gradients(policy) -> torch.Tensor:
    flat = torch.cat([p.grad.flatten() for p in policy.parameters()])
    policy.zero_grad()
    return flat


def test_chunks_change_neither_value_nor_gradient(policy, batch, monkeypatch):
    whole = policy(*batch)
    whole[0].sum().backward()
    gradient = gradients(policy)
    monkeypatch.setattr(model_module, "LOGITS_PER_CHUNK", 4 * policy.model.config.vocab_size)  # 4 of the 11 targets at once
    parts = policy(*batch)
    parts[0].sum().backward()
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(gradients(policy), gradient)


def test_padding_on_the_right_changes_nothing(policy, batch):
    input_ids, is_target = batch
    padded = torch.cat([input_ids, torch.zeros(3, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(policy(padded, torch.cat([is_target, torch.zeros(3, 4, dtype=torch.bool)], 1)), policy(*batch))


def test_an_empty_micro_batch_reaches_every_parameter(policy):
    """Under ZeRO 2-3 every rank must take part in every backward pass; the gradient is zero."""
    logprobs, entropies = policy(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 1, dtype=torch.bool))
    assert len(logprobs) == len(entropies) == 0
    (logprobs.sum() * 1.0).backward()
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())


class Alone:
    """A worker of one process, and an engine that is a bare module."""
    world_size, rank = 1, 0

    def __init__(self, module):
        self.module, self.device = module, torch.device("cpu")

    def __call__(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def backward(self, loss):
        loss.backward()


def some_samples(count: int, vocabulary: int) -> list[Sample]:
    generator = torch.Generator().manual_seed(5)
    samples = []
    for index in range(count):
        ids = torch.randint(4, vocabulary, (4 + 3 * index,), generator=generator).tolist()
        samples.append(Sample(ids, [0.0] * 2 + [1.0] * (len(ids) - 2)))
    return samples


def test_supervised_loss_is_hf_own(policy):
    """Weights 0 and 1 are HF's label -100 and not; the mean runs over all targets of the batch."""
    samples = some_samples(4, policy.model.config.vocab_size)
    alone = Alone(policy)
    loss, num_tokens = accumulate(alone, alone, samples, 1000, pad_id=0)
    gradient = gradients(policy)
    width = max(len(s.token_ids) for s in samples)
    input_ids = torch.tensor([s.token_ids + [0] * (width - len(s.token_ids)) for s in samples])
    labels = torch.tensor([[i if w else -100 for i, w in zip(s.token_ids, s.weights)] + [-100] * (width - len(s.token_ids)) for s in samples])
    expected = policy.model(input_ids=input_ids, labels=labels).loss
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert num_tokens == sum(len(s.token_ids) for s in samples)
    torch.testing.assert_close(gradient, gradients(policy), atol=1e-7, rtol=1e-5)


def test_fractional_weights_are_a_weighted_mean(policy):
    samples = [Sample([1, 5, 6, 7], [1.0, 0.05, 1.0, 0.5]), Sample([1, 9], [1.0, 0.25])]
    alone = Alone(policy)
    loss, _ = accumulate(alone, alone, samples, 1000, pad_id=0)
    first, second = full_log_probs(policy, torch.tensor([[1, 5, 6, 7]]))[0], full_log_probs(policy, torch.tensor([[1, 9]]))[0]
    total = 0.05 * first[0, 5] + 1.0 * first[1, 6] + 0.5 * first[2, 7] + 0.25 * second[0, 9]
    assert loss == pytest.approx(-total.item() / 1.8, rel=1e-5)


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_a_saved_model_loads_again(tokenizer, tmp_path, tie_embeddings):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    config = ModelConfig(hidden_size=32, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=64, tie_embeddings=tie_embeddings)
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
