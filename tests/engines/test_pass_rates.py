"""`data prepare` with a pass rate: the real engine samples a tiny model, the rates are those of its completions, and a
second run samples nothing.
"""

import json

import pyarrow.parquet
import torch

from stages.config import DataConfig, PrepareConfig, RolloutConfig
from stages.data.preparing.pass_rate import PassRates
from stages.data.preparing.prepare import Preparation
from stages.prompting.prompt import Prompt


def tiny_model(directory):
    """A random Llama over the tiny world's words whose logits favour <answer>: some completions hold an answer, most a
    wrong one.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from stages.worlds.tiny_world.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=64,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        )
    )
    wanted = tokenizer.convert_tokens_to_ids(["<answer>", "3", "</answer>"])
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.normal_()
        model.lm_head.weight.zero_()
        embeddings = model.model.embed_tokens.weight
        for before, after in zip(
            [tokenizer.convert_tokens_to_ids("Assistant:"), *wanted], [*wanted, tokenizer.eos_token_id]
        ):
            model.lm_head.weight[after] += (
                0.4 * embeddings[before]
            )  # Assistant: <answer> 3 </answer> <eos>, more often than not
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def prepare(tmp_path, name, model, **settings):
    path = tmp_path / "sums.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"{a}+{b}", "answer": a + b}) + "\n" for a in range(1, 5) for b in range(1, 5))
    )
    made = Preparation(
        DataConfig(path=str(path), max_prompt_tokens=16),
        PrepareConfig(
            output=str(tmp_path / name), samples=8, max_completion_tokens=6, processes=1, near_duplicates=0, **settings
        ),
        RolloutConfig(engine="transformers"),
        seed=3,
        model_dir=str(model),
        say=lambda line: None,
    )
    return pyarrow.parquet.read_table(made.run()).to_pylist(), made


def test_pass_rates_are_measured_once_and_filter(tmp_path, monkeypatch):
    model = tiny_model(tmp_path / "model")
    everything, _ = prepare(tmp_path, "all", model, min_pass_rate=0, max_pass_rate=1)
    rates = {row["prompt"]: row["pass_rate"] for row in everything}
    assert len(rates) == 16
    threes = {prompt for prompt in rates if sum(map(int, prompt.split("+"))) == 3}
    assert all(rates[prompt] > 0.3 for prompt in threes) and all(
        rate <= 0.25 for prompt, rate in rates.items() if prompt not in threes
    )
    monkeypatch.setattr(PassRates, "_open", lambda self: (_ for _ in ()).throw(AssertionError("sampled again")))
    again, made = prepare(tmp_path, "all", model, min_pass_rate=0.3, max_pass_rate=1)
    assert {row["prompt"] for row in again} == threes and made.dropped.reasons["pass rate"] == {"under 0.3": 14}


def test_rates_are_a_function_of_seed_and_prompt(tmp_path):
    model = tiny_model(tmp_path / "model")
    prompts = [Prompt(f"p{n}", f"{n}+2", "file", "reasoning", "en", str(n + 2), "integer") for n in range(1, 5)]
    general = Prompt("g", "say hello", "file", "helpful", "en", "")

    def rates(name, some):
        meter = PassRates(
            DataConfig(),
            PrepareConfig(samples=6, max_completion_tokens=6),
            RolloutConfig(engine="transformers"),
            1,
            model,
            tmp_path / name,
            lambda line: None,
        )
        return meter.of(some)

    together = rates("a", [*prompts, general])
    assert together[-1] is None and [rates(f"b{n}", [prompt])[0] for n, prompt in enumerate(prompts)] == together[:-1]
