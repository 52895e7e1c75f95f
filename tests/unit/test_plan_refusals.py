"""What the plan refuses because the run would: rows, prompts, contexts, devices, models from outside."""

import json
import sys

import pytest

from pipeline.planning import devices, model_fit, rows
from pipeline.planning.plan import Step
from stages.config import ModelConfig, SourceConfig
from stages.data.first_look import look
from tests.support.runs import config, model_directory


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def jsonl(path, many: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in many))
    return str(path)


def tokenizer(path) -> str:
    """A tokenizer of bytes, so that a prompt has as many tokens as letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = pre_tokenizers.ByteLevel.alphabet()
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(sorted(letters))}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.save(str(path))
    return str(path)


def prompting(tmp_path, max_tokens: int, **more) -> dict:
    shared = {"template": "plain", "system": "", "examples": None, "max_tokens": max_tokens}
    return {"tokenizer": tokenizer(tmp_path / "tokenizer.json"), **shared, **more}


def test_answers_that_their_verifier_cannot_read_are_counted_and_shown(tmp_path):
    path = jsonl(
        tmp_path / "rows.jsonl", [{"prompt": f"{i}?", "answer": "7" if i % 2 else "about 7"} for i in range(20)]
    )
    found = look(SourceConfig(path=path, verifier="integer"), "data", None)
    assert (found["rows"], found["asked"], found["unreadable"], len(found["answers"])) == (20, 20, 10, 5)
    assert found["answers"][0] == "line 1: 'about 7' is not one integer (it is read by verifier=integer)"
    assert not look(SourceConfig(path=path, verifier="exact"), "data", None)["unreadable"]
    assert not look(SourceConfig(path=path, verifier="integer", check_answers=False), "data", None)["asked"]


def test_prompts_over_the_limit_are_counted_with_what_stands_around_them(tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", [{"prompt": "a" * size, "answer": "7"} for size in (5, 30, 60)])
    around = len("User:Assistant:")
    source = SourceConfig(path=path, verifier="integer")
    assert look(source, "data", prompting(tmp_path, 60 + around))["too_long"] == 0
    found = look(source, "data", prompting(tmp_path, 59 + around))
    assert found["prompts"] == [f"line 3: {60 + around} tokens"]
    examples = json.dumps([{"role": "user", "content": "b" * 10}, {"role": "assistant", "content": "c" * 10}])
    told = prompting(tmp_path, 59 + around, system="d" * 10, examples=examples)
    assert look(source, "data", told)["too_long"] == 2


@pytest.mark.slow
def test_the_plan_says_it_and_remembers_it_for_the_same_content(tmp_path, monkeypatch):
    path = jsonl(tmp_path / "rows.jsonl", [{"prompt": f"{i}?", "answer": "x" if i == 3 else "7"} for i in range(9)])
    run = config("+stage=r1_zero", f"data.path={path}", "data.verifier=integer", f"runs_dir={tmp_path}")
    step = Step("r1_zero", "grpo", "run", "", "0" * 64, tmp_path, run.stage("r1_zero"), {})
    ((message, fix),) = rows.check_data(run, [step])
    assert "1 of 9 rows have an answer that cannot be read: line 4: 'x' is not one integer" in message
    assert "data.verifier=math" in fix and "data.malformed=skip" in fix
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert rows.check_data(run, [step]) == [(message, fix)]
    jsonl(tmp_path / "rows.jsonl", [{"prompt": "1?", "answer": "7"}])
    monkeypatch.undo()
    assert rows.check_data(run, [step]) == []


def test_rows_that_are_skipped_are_an_error_only_where_none_is_left():
    some = {"rows": 9, "asked": 9, "unreadable": 1, "answers": ["line 4: no"], "too_long": 0, "prompts": []}
    request = {"key": "data", "source": {"path": "x.jsonl"}, "malformed": "skip"}
    assert rows._in_words(request, some) == []
    assert rows._in_words(request, some | {"unreadable": 9})
    assert (
        "1 of 9 rows that were tried (of 50) have"
        in rows._in_words({**request, "malformed": "fail"}, some | {"rows": 50})[0][0]
    )


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(count: int, *others: str) -> None:
        for name in (*(f"nvidia{number}" for number in range(count)), "nvidiactl", "nvidia-uvm", *others):
            (tmp_path / name).touch()

    return make


@pytest.mark.parametrize(
    "visible, count",
    [(None, 4), ("", 0), ("-1", 0), ("0", 1), ("1,2", 2), ("0,1,-1,2", 2), ("GPU-aa,GPU-bb", 2), ("0,1,2,3,4", 4)],
)
def test_gpus_are_counted_as_cuda_counts_them(gpus, monkeypatch, visible, count):
    gpus(4)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.num_gpus() == count


def test_other_gpus_than_nvidias_are_not_counted(gpus):
    gpus(0, "kfd")
    assert devices.num_gpus() is None


@pytest.mark.slow
def test_a_missing_gpu_and_more_ranks_than_gpus_are_errors(gpus, monkeypatch):
    on_cpu, on_gpu = config(), config("launcher=gpu")
    slurm = config("launcher=slurm")
    assert devices.check_devices(on_cpu) == [] == devices.check_devices(slurm)
    assert devices.check_devices(on_gpu)[0][0] == "launcher.device=gpu, but this machine has no NVIDIA GPU"
    gpus(1)
    assert devices.check_devices(on_gpu) == [] == devices.check_devices(slurm)
    assert devices.check_devices(on_cpu) == [
        ("launcher.num_processes=2, but this machine has 1 GPU: each rank needs one", "launcher.num_processes=1")
    ]
    torchrun = config("launcher=torchrun")  # this machine is one of those that work
    assert "launcher.num_processes=8, but this machine has 1 GPU" in devices.check_devices(torchrun)[0][0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES hides" in devices.check_devices(on_gpu)[0][0]
    message, fix = devices.check_devices(torchrun)[0]
    assert "this machine has no NVIDIA GPU" in message and "launcher.device=any" in fix


@pytest.mark.slow
def test_a_slurm_allocation_says_what_it_has(gpus, monkeypatch):
    slurm = config("launcher=slurm", "launcher.num_nodes=4")
    for name in ("SLURM_JOB_ID", "SLURM_JOB_NUM_NODES", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    assert devices.check_devices(slurm) == []  # planned on a laptop
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "4"}.items():
        monkeypatch.setenv(name, value)
    nodes, ranks = devices.check_devices(slurm)
    assert nodes[0] == "launcher.num_nodes=4, but the Slurm allocation has 2 node(s)"
    assert ranks[0].startswith("launcher.num_processes=8, but Slurm gives 4 GPU(s) of a node")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "4")
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "8")
    assert devices.check_devices(slurm) == []


@pytest.mark.parametrize(
    "device, ranks, num_gpus, says",
    [
        ("any", "2", 0, None),
        ("gpu", "2", 0, "has no GPU that torch can use"),
        ("gpu", "2", 2, None),
        ("any", "3", 2, "launcher.num_processes=2"),
    ],
)
def test_a_worker_looks_at_its_own_machine(device, ranks, num_gpus, says, monkeypatch):
    from stages.runtime.devices import device_problem

    monkeypatch.setenv("STAGE_DEVICE", device)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    problem = device_problem(num_gpus)
    assert problem is None if says is None else says in problem


def model(path, **keys) -> str:
    model_directory(path)
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": 100, "eos_token_id": 0} | keys))
    return str(path)


def test_the_context_is_that_of_the_files_or_of_the_recipes_own_model(tmp_path):
    assert model_fit.context_of(ModelConfig(path=model(tmp_path / "a"))) == 100
    assert (
        model_fit.context_of(ModelConfig(path=model(tmp_path / "b", text_config={"max_position_embeddings": 7}))) == 7
    )
    assert model_fit.context_of(ModelConfig(path=str(tmp_path / "none"))) is None
    assert model_fit.context_of(ModelConfig(max_positions=64)) == 64


@pytest.mark.slow
def test_what_a_model_cannot_do_is_an_error_for_the_stages_that_ask_for_it(tmp_path, gpus):
    path = model(tmp_path / "model", hidden_size=300, num_attention_heads=10)

    def errors(*words: str, kind: str = "grpo", stage: str = "r1_zero") -> list[tuple[str, str]]:
        run = config(f"model.path={path}", "data.max_prompt_tokens=20", *words)
        step = Step(stage, kind, "run", "", "0" * 64, tmp_path, run.stage(stage), {})
        return model_fit.check_models(run, [step])

    fits = ("stages.r1_zero.max_completion_tokens=[[0,80]]", "rollout=transformers")
    assert errors(*fits) == []
    (too_long,) = errors("stages.r1_zero.max_completion_tokens=[[0,60],[10,81]]", "rollout=transformers")
    assert "20 tokens of prompt and 81 of completion" in too_long[0] and "holds 100" in too_long[0]
    assert "has attention heads of 30" in errors(fits[0])[0][0]
    assert "has no chat template" in errors(*fits, "data.template=chat")[0][0]
    (suite,) = errors(*fits, "eval=tiny", "eval.tiny.max_completion_tokens=100", kind="evaluate", stage="evaluate")
    assert suite[1] == "lower eval.tiny.max_completion_tokens"
    path = model(tmp_path / "endless", eos_token_id=None)
    (tmp_path / "endless" / "tokenizer_config.json").write_text("{}")
    assert "end-of-sequence" in errors(*fits)[0][0]
