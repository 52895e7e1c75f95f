"""Run by torchrun: models that are divided over the ranks as they are read, against the same models read whole.

torchrun ... divided_model.py WORK_DIR RESULT_JSON
"""

import sys
from pathlib import Path

from stages.runtime import environment

environment.prepare()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from scripts.family_tools.families import write_model  # noqa: E402
from stages.config import DeepSpeedConfig, LoraConfig, OptimConfig  # noqa: E402
from stages.contract import files  # noqa: E402
from stages.engines.loading import load_policy, load_scorer  # noqa: E402
from stages.engines.training import TrainEngine, init_distributed  # noqa: E402
from stages.modeling.adapter_targets import heads_of  # noqa: E402
from stages.modeling.adapters import add_adapters  # noqa: E402
from stages.modeling.divided import is_divided, whole  # noqa: E402
from stages.modeling.model import load_model, load_tokenizer, save_model  # noqa: E402
from stages.modeling.policy_model import PolicyModel  # noqa: E402
from stages.modeling.ready import ready_classifier, ready_policy  # noqa: E402
from stages.modeling.reward_model import load_reward_model  # noqa: E402
from stages.runtime.errors import InputError  # noqa: E402
from tests.support.stage_dirs import end_process  # noqa: E402

# Families with a tied head, merged experts, a buffer that is saved and kept in fp32, a head of its own.
FAMILIES = ["Llama, tied", "Qwen3-MoE", "DeepSeek-V3", "GPT-2", "Gemma 3"]
IN_SHARDS = ["Llama, tied", "Qwen3-MoE"]
DIVIDED = DeepSpeedConfig(zero_stage=3)
OPTIM = OptimConfig(lr=1e-3)
SMALL_SHARD_GIB = 200_000 / 2**30


def differing(divided: torch.nn.Module, plain: torch.nn.Module) -> list[str]:
    """Names of the parameters and buffers, saved or not, that are not the same in both, bits and type and all."""
    found, expected = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (divided, plain))
    wrong = sorted(found.keys() ^ expected.keys())
    for name in sorted(found.keys() & expected.keys()):
        with whole([found[name]]):
            if found[name].dtype != expected[name].dtype or not torch.equal(found[name], expected[name]):
                wrong.append(name)
    return wrong


def held(module: torch.nn.Module) -> float:
    """The share of a divided model's parameters that this rank holds."""
    total = sum(p.ds_numel for p in module.parameters() if hasattr(p, "ds_id"))
    return sum(p.numel() + p.ds_tensor.numel() for p in module.parameters() if hasattr(p, "ds_id")) / total


def logits_of(module: torch.nn.Module) -> torch.Tensor:
    ids = torch.tensor([[20, 30, 40, 50]])
    with torch.no_grad():
        return module(input_ids=ids, use_cache=False).logits


def file_bytes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def exported(model_dir: Path, work: Path, policy: PolicyModel, shard_gib: float) -> dict:
    """What of an export is not what transformers writes of the whole model: files, and tensors that are read again."""
    config = DeepSpeedConfig(zero_stage=3, export_shard_gib=shard_gib)
    TrainEngine(policy, OPTIM, config, num_steps=1).export(load_tokenizer(model_dir), work / "export")
    dist.barrier()
    plain = load_model(model_dir)
    if dist.get_rank() == 0:
        save_model(plain, {}, load_tokenizer(model_dir), work / "whole")
        plain.save_pretrained(work / "whole", max_shard_size=int(shard_gib * 2**30))
    dist.barrier()
    ours, theirs = file_bytes(work / "export"), file_bytes(work / "whole")
    return {
        "other files": [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)],
        "other tensors": differing(load_model(work / "export"), plain),
        "shards": len([name for name in ours if name.endswith(".safetensors")]),
    }


def of_family(name: str, work: Path) -> dict:
    """A family: loaded, tried before training, and exported."""
    model_dir = work / "model"
    if dist.get_rank() == 0:
        write_model(name, model_dir)
    dist.barrier()
    result: dict = {}
    model = load_policy(model_dir, DIVIDED)
    result["held"] = held(model)
    result["differs"] = differing(model, load_model(model_dir))
    own = ready_policy(load_model(model_dir), load_tokenizer(model_dir), "auto", "fp32", print)
    policy = ready_policy(model, load_tokenizer(model_dir), "auto", "fp32", print)
    result["ready"] = [policy.packed == own.packed, policy.head == own.head, policy.training == own.training]
    result["differs after trials"] = differing(model, load_model(model_dir))
    result["held after trials"] = held(model)
    result["export"] = exported(model_dir, work, policy, SMALL_SHARD_GIB if name in IN_SHARDS else 5.0)
    return result


def with_adapters(model_dir: Path) -> dict:
    """Adapters of several kinds on a divided model, against the same adapters on a whole one."""
    result = {}
    for kind, changes in {"plain": {}, "dora": {"dora": True}, "whole": {"whole": ["lm_head"]}}.items():
        config = LoraConfig(rank=4, **changes)
        divided, plain = load_policy(model_dir, DIVIDED), load_model(model_dir)
        for model in (divided, plain):
            add_adapters(model, config, 7, lambda line: None, has_reference=True)
        result[kind] = differing(divided, plain)
    return result


def of_reward_model(model_dir: Path) -> dict:
    tokenizer = load_tokenizer(model_dir)
    torch.manual_seed(5)
    divided = load_scorer(model_dir, tokenizer.pad_token_id, DIVIDED)
    torch.manual_seed(5)
    plain = load_reward_model(model_dir, tokenizer.pad_token_id, is_new=True)
    result = {"differs": differing(divided, plain), "divided": is_divided(divided)}
    scalar = ready_classifier(divided, tokenizer)
    scalar.adapters = add_adapters(divided, LoraConfig(rank=4), 3, lambda line: None, whole=heads_of(divided))
    TrainEngine(scalar, OPTIM, DIVIDED, num_steps=1)
    return result


def refusals(model_dir: Path, work: Path) -> list[str]:
    """What is refused with a reason: four bits, a lost tensor, a wrong shape, a tied head that is another one."""
    from safetensors.torch import load_file, save_file

    said = []

    def refused(directory: Path, quantize: str = "none") -> None:
        try:
            load_policy(directory, DIVIDED, quantize)
            said.append("nothing")
        except InputError as error:
            said.append(str(error))

    refused(model_dir, "4bit")
    for change in ("lost", "shape", "head", "more"):
        other = work / change
        if dist.get_rank() == 0:
            other.mkdir()
            for path in model_dir.iterdir():
                (other / path.name).write_bytes(path.read_bytes())
            tensors = load_file(other / "model.safetensors")
            embedding = tensors["model.embed_tokens.weight"]
            if change == "lost":
                del tensors["model.layers.1.mlp.up_proj.weight"]
            elif change == "shape":
                tensors["model.layers.1.mlp.up_proj.weight"] = torch.ones(3, 3)
            elif change == "head":
                tensors["lm_head.weight"] = embedding + 1
            else:
                tensors["model.layers.0.mlp.more.weight"] = torch.ones(3)
            save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
        dist.barrier()
        refused(other)
    return said


def main(directory: str, result: str) -> None:
    init_distributed()
    root = Path(directory)
    outcomes: dict = {"families": {}}
    for name in FAMILIES:
        work = root / name.replace(" ", "_")
        work.mkdir(exist_ok=True)
        outcomes["families"][name] = of_family(name, work)
    tied = root / "Llama,_tied" / "model"
    outcomes["adapters"] = with_adapters(root / "Qwen3-MoE" / "model")
    outcomes["reward model"] = of_reward_model(tied)
    outcomes["refusals"] = refusals(tied, root)
    rank = dist.get_rank()
    files.write_json(Path(f"{result}.{rank}" if rank else result), outcomes)
    dist.barrier()


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process()
