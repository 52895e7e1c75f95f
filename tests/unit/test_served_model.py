"""What is wrong with a rollout server is said before work starts, with the way out."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stages.contract.served_model import Settings, Wanted, names_of, shape_digest, vocabulary_digest, why_unusable
from tests.support.fake_server import FakeServer

SETTINGS = Settings("gloo", "float32", "processed_logprobs", 16)


def write_model(directory: Path, width: int = 4, tokens: tuple[str, ...] = ("a", "b")) -> Path:
    directory.mkdir()
    save_file({"model.embed_tokens.weight": np.zeros((2, width), np.float32)}, directory / "model.safetensors")
    content = {"model": {"vocab": {token: i for i, token in enumerate(tokens)}}, "added_tokens": []}
    (directory / "tokenizer.json").write_text(json.dumps(content))
    return directory


@pytest.fixture
def policy(tmp_path) -> Path:
    return write_model(tmp_path / "policy")


def wanted(policy: Path, **changes) -> Wanted:
    own = {"shape": shape_digest(policy), "vocabulary": vocabulary_digest(policy)}
    return Wanted(**{"version": "0.32.0", "transfer": "gloo", "precision": "fp32", "model_tokens": 64} | own | changes)


@pytest.fixture
def serve():
    made: list[FakeServer] = []

    def start(model: Path, settings: Settings = SETTINGS, **answers) -> FakeServer:
        cards = [{"id": name, "max_model_len": 64} for name in names_of(model, settings)]
        made.append(FakeServer(**{"/v1/models": {"data": cards}, **answers}))
        return made[-1]

    yield start
    for server in made:
        server.close()


def test_a_server_with_the_policy_is_fine(policy, serve):
    assert why_unusable(serve(policy).url, wanted(policy, sequences=16), 2.0) is None


def test_a_proxy_in_the_environment_does_not_count(policy, serve, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert why_unusable(serve(policy).url, wanted(policy), 2.0) is None


@pytest.mark.parametrize("answer", [["0.32.0"], "0.32.0"])
def test_what_answers_in_another_form_is_no_server(policy, serve, answer):
    what, _ = why_unusable(serve(policy, **{"/version": answer}).url, wanted(policy), 2.0)
    assert "/version" in what


def test_settings_in_the_form_of_another_version_are_not_read(policy, serve):
    server = serve(policy, **{"/v1/models": {"data": [{"id": "r1-settings:gloo,float32"}]}})
    what, _ = why_unusable(server.url, wanted(policy), 2.0)
    assert "in another form (r1-settings:gloo,float32)" in what


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        ({"version": "0.31.0"}, "runs vLLM 0.32.0, and this machine has 0.31.0", "same version"),
        ({"transfer": "nccl"}, "takes weights by gloo, and the trainer sends them by nccl", "--transfer nccl"),
        ({"precision": "bf16"}, "computes in float32, and the trainer in bfloat16", "--precision bf16"),
        ({"sequences": 17}, "at most 16 sequences at once, and the group of a prompt has 17", "--max-sequences 17"),
        ({"model_tokens": 65}, "takes 64 tokens, and the stage needs 65", "--max-completion-tokens"),
    ],
)
def test_what_a_stage_needs(policy, serve, changes, what, fix):
    found = why_unusable(serve(policy).url, wanted(policy, **changes), 2.0)
    assert found is not None and what in found[0] and fix in found[1]


def test_another_model_and_another_vocabulary(policy, serve, tmp_path):
    wider = serve(write_model(tmp_path / "wider", width=8))
    other = serve(write_model(tmp_path / "other", tokens=("a", "c")))
    assert "another model than the policy" in why_unusable(wider.url, wanted(policy), 2.0)[0]
    assert "another vocabulary than the policy" in why_unusable(other.url, wanted(policy), 2.0)[0]


def test_a_server_without_development_mode_and_what_is_no_vllm_at_all(policy, serve):
    plain = serve(policy, **{"/weight_info": None})
    what, fix = why_unusable(plain.url, wanted(policy), 2.0)
    assert "development mode" in what and "VLLM_SERVER_DEV_MODE=1" in fix
    other = serve(policy, **{"/version": None})
    assert "no vLLM server" in why_unusable(other.url, wanted(policy), 2.0)[0]


def test_nobody_answers(policy):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        what, fix = why_unusable(f"http://127.0.0.1:{taken.getsockname()[1]}", wanted(policy), 1.0)
    assert what.startswith("does not answer") and "stages.rollout_server" in fix


def test_a_server_of_vllms_own_is_asked_for_its_settings(policy, serve):
    account = {
        "weight_transfer_config": None,
        "model_config": {"dtype": "torch.float32", "logprobs_mode": "raw_logprobs"},
        "scheduler_config": {"max_num_seqs": 4},
    }
    cards = {"data": [{"id": "m", "max_model_len": 64}]}
    answers = {"/v1/models": cards, "/server_info": {"vllm_config": account}}
    server = serve(policy, **answers)
    answer, server.group = server.group, lambda body: None  # 404
    assert "--enable-scale-out" in why_unusable(server.url, wanted(policy), 2.0)[1]
    server.group = lambda body: answer({"token_ids": [1], "sampling_params": {"n": 1, "seed": 0}})
    assert "takes weights by nothing" in why_unusable(server.url, wanted(policy), 2.0)[0]
    account["weight_transfer_config"] = {"backend": "gloo"}
    assert "raw_logprobs" in why_unusable(server.url, wanted(policy), 2.0)[0]
    account["model_config"]["logprobs_mode"] = "processed_logprobs"
    assert why_unusable(server.url, wanted(policy), 2.0) is None


def test_the_same_policy_saved_again_is_no_other_model(policy, tmp_path):
    again = write_model(tmp_path / "again")
    save_file(
        {"lm_head.weight": np.ones((2, 4), np.float32), "model.embed_tokens.weight": np.ones((2, 4), np.float32)},
        again / "model.safetensors",
    )
    assert shape_digest(again) == shape_digest(policy) and vocabulary_digest(again) == vocabulary_digest(policy)
