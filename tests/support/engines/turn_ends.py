"""What both samplers draw of a model that knows one answer by heart and ends its turn in one of its ends of sequence.

Usage: turn_ends.py WORK_DIRECTORY RESULT
"""

import itertools
import sys
from pathlib import Path

import torch

from stages.config import RolloutConfig
from stages.contract import files
from stages.engines.sampling import make_sampler
from stages.engines.training import init_distributed
from stages.modeling.model import load_tokenizer
from stages.prompting.encoding import Encoder
from tests.support import tokenizers as make
from tests.support.stage_dirs import end_process

# What the model writes after the prompt, whose last sign is an unknown word, and what it would go on with.
WRITTEN = ["<unk>", "<think>", "1", "</think>", "<answer>", "7", "</answer>", "<pad>", "what", "is", "what"]
END = "<pad>"
MODELS = {
    "in generation_config": {"tokenizer": "<eos>", "generation": ["<eos>", END], "config": "<eos>"},
    "in config": {"tokenizer": "<eos>", "generation": None, "config": ["<eos>", END]},
    "in the tokenizer": {"tokenizer": END, "generation": "<eos>", "config": "<eos>"},
}


def make_model(directory: Path, tokenizer: str, generation, config) -> Path:
    """A model in which each token follows from the one before: attention and MLP add nothing."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    words = make.saved(make.word_level(), directory, eos_token=tokenizer, bos_token="<bos>", unk_token="<unk>")
    ids = words.convert_tokens_to_ids
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=64,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
            eos_token_id=ids(config),
            bos_token_id=ids("<bos>"),
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        for parameter in (*model.model.layers[0].mlp.parameters(), *model.model.layers[0].self_attn.parameters()):
            parameter.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(words), 64))
        model.lm_head.weight.zero_()
        for before, after in itertools.pairwise(WRITTEN):
            model.lm_head.weight[ids(after), ids(before)] = 8.0  # times 8, the norm: nothing else is ever drawn
    model.generation_config = GenerationConfig(eos_token_id=ids(generation) if generation else None)
    model.save_pretrained(directory)
    return directory


def main(work_dir: str, result: str) -> None:
    init_distributed()
    outcome: dict = {}
    for name, ends in MODELS.items():
        directory = make_model(Path(work_dir) / name.replace(" ", "_"), **ends)
        encoder = Encoder(load_tokenizer(directory), "plain")
        for engine in ("vllm", "transformers"):
            sampler = make_sampler(RolloutConfig(engine=engine), directory, 16, 24, stop_ids=encoder.stop_ids)
            ((drawn,),) = sampler.sample([encoder.prompt("what is 7")], [0], 1, 1.0, 24)
            ((cut,),) = sampler.sample([encoder.prompt("what is 7")], [0], 1, 1.0, 3)
            sampler.close()
            outcome[f"{name}/{engine}"] = {
                "text": encoder.decode([drawn.token_ids])[0],
                "last": encoder.tokenizer.convert_ids_to_tokens(int(drawn.token_ids[-1])),
                "logprobs": len(drawn.logprobs) == len(drawn.token_ids),
                "truncated": drawn.is_truncated,
                "cut": [encoder.decode([cut.token_ids])[0], cut.is_truncated],
            }
    files.write_json(Path(result), outcome)


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process()
