"""Chat: which models a command means, what a model is shown, and what people and pipes see."""

import builtins
import io
import json
import sys
from pathlib import Path

import pytest

from pipeline.commands import chat as command
from pipeline.commands import chosen_models
from pipeline.errors import InvalidConfig, MissingInput
from stages.chat.__main__ import main
from stages.chat.conversation import Conversation
from stages.chat.model import ChatModel, Sampling
from stages.config import ModelConfig
from stages.modeling.model import new_model, save_model
from stages.prompting.chat_templates import as_chat_template
from stages.runtime.errors import InputError
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support.synthetic_run import stage_dir, write_run

CONTEXT = 64  # tokens
GREEDY = Sampling(temperature=0, max_tokens=6)


@pytest.fixture(scope="module")
def model_dirs(tmp_path_factory) -> list[Path]:
    """Two models with the same template and other weights."""
    tokenizer = build_tokenizer()
    tokenizer.chat_template = as_chat_template("plain", tokenizer)
    shape = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 32}
    directories = [tmp_path_factory.mktemp(name) for name in "ab"]
    for seed, directory in enumerate(directories):
        save_model(new_model(ModelConfig(max_positions=CONTEXT, **shape), tokenizer, seed), None, tokenizer, directory)
    return directories


@pytest.fixture(scope="module")
def models(model_dirs) -> list[ChatModel]:
    return [ChatModel(directory, name, "chat") for name, directory in zip("ab", model_dirs)]


def test_a_stream_is_the_completion_of_transformers(models):
    import torch

    (model, _) = models
    ids = torch.tensor([model.encoder.prompt("what is2+3?")])
    expected = model.model.generate(ids, do_sample=False, max_new_tokens=6, eos_token_id=model.encoder.stop_ids)
    stream = model.stream("what is2+3?", [], GREEDY, pytest.fail)
    pieces = list(stream)
    assert "".join(pieces) == stream.text == model.encoder.decode([expected[0, ids.shape[1] :].tolist()])[0]
    assert len(pieces) > 1 and stream.is_cut and "6 tokens" in stream.speed() and "cut at the limit" in stream.speed()


def test_the_same_seed_gives_the_same_answer_and_another_one_another(models):
    texts = []
    for seed in (1, 1, 2):
        stream = models[0].stream("hi", [], Sampling(temperature=5.0, max_tokens=8, seed=seed), pytest.fail)
        list(stream)
        texts.append(stream.text)
    assert texts[0] == texts[1] != texts[2]


def test_two_streams_at_once_do_not_disturb_each_other(models):
    def streams():
        return [model.stream("hi", [], Sampling(temperature=1.0, max_tokens=6), pytest.fail) for model in models]

    alone, together = streams(), streams()
    for stream in alone:
        list(stream)
    for _ in zip(*together):  # a token of each in turn
        pass
    list(together[0])
    assert together[0].text.startswith(alone[0].text[:1])


def test_old_turns_that_do_not_fit_are_left_out_and_said(models):
    said = []
    turns = [("1+1+1+1+1+1+1", "2+2+2+2+2+2") for _ in range(5)]
    ids, forgotten = models[0]._fitting("hi", turns)
    assert forgotten > 0 and len(ids) < CONTEXT
    models[0].stream("hi", turns, GREEDY, said.append)
    assert said == [f"a: the context holds 64 tokens: {forgotten} earlier turns left out"]
    with pytest.raises(InputError, match=r"a: the prompt has \d+ tokens, its context holds 64: shorten it"):
        models[0].stream("1+" * CONTEXT, [], GREEDY, pytest.fail)


@pytest.mark.parametrize("num_turns, expected", [(None, 2), (0, 0), (1, 1)])
def test_a_chat_remembers_its_turns(models, num_turns, expected, monkeypatch, capsys):
    seen = []
    real = ChatModel.stream

    def spy(self, words, earlier, *rest):
        seen.append(len(earlier))
        return real(self, words, earlier, *rest)

    monkeypatch.setattr(ChatModel, "stream", spy)
    conversation = Conversation(models[:1], GREEDY, [], num_turns)
    for words in ("hi", "hello", "hi"):
        conversation.ask(words)
    assert seen[-1] == expected


def test_a_model_of_single_prompts_is_shown_no_earlier_turns(model_dirs, models):
    plain = ChatModel(model_dirs[0], "plain", "plain")
    conversation = Conversation([plain, models[0]], GREEDY, [], None)
    turns = [("hi", "hello")]
    assert [conversation._remembered(model, turns) for model in conversation.models] == [[], turns]


def test_the_switch_for_thoughts(model_dirs):
    assert ChatModel(model_dirs[0], "a", "chat", thinking="on").encoder.opening == "<think>"
    assert ChatModel(model_dirs[0], "a", "chat", thinking="off").encoder.opening == ""
    with pytest.raises(InputError, match="--thinking is a switch of chat templates, and plain is none"):
        ChatModel(model_dirs[0], "a", "plain", thinking="on")


def type_in(monkeypatch, *lines):
    """Lets `input` return these lines; an exception among them is raised."""
    waiting = iter([*lines, EOFError()])

    def answer(_prompt: str) -> str:
        line = next(waiting)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr(builtins, "input", answer)


def test_what_people_can_type(models, monkeypatch, capsys):
    asked = []
    conversation = Conversation(models[:1], GREEDY, ["what is1+1?", "hi,\nhi"], None)
    monkeypatch.setattr(conversation, "ask", asked.append)
    conversation.turns = [[("a", "b")]]
    type_in(monkeypatch, "/2", "/3", "hello", "/new", "/prompts", "/help")
    conversation.with_people()
    assert asked == ["hi,\nhi", "hello"] and conversation.turns == [[]]
    said = capsys.readouterr().err
    assert "/1  what is1+1?\n" in said and "/2  hi, hi\n" in said and "there is no prompt 3; the list has 2" in said


def test_ctrl_c_stops_an_answer_and_a_mistake_does_not_end_the_chat(models, monkeypatch, capsys):
    conversation, asked = Conversation(models[:1], GREEDY, [], None), []

    def ask(words):
        asked.append(words)
        if words == "long":
            raise KeyboardInterrupt
        if words == "bad":
            raise InputError("shorten it")

    monkeypatch.setattr(conversation, "ask", ask)
    type_in(monkeypatch, "long", "bad", "good", KeyboardInterrupt(), "never")
    conversation.with_people()
    assert asked == ["long", "bad", "good"] and "error: shorten it" in capsys.readouterr().err


def test_a_pipe_gets_the_answers_and_nothing_else(model_dirs, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n\nwhat is1+1?\n"))
    assert main([str(model_dirs[0]), "--temperature=0", "--max-tokens=4"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and "\x1b" not in out + err and ">" not in out.replace("<", "").split()
    assert err.startswith("ready after ")


def test_models_are_named_where_they_cannot_stand_side_by_side(model_dirs, capsys):
    words = [*map(str, model_dirs), "--name=one", "--name=two", "--prompt=hi", "--temperature=0", "--max-tokens=3"]
    assert main(words) == 0
    out = capsys.readouterr().out.splitlines()
    assert (out[0], out[2], len(out)) == ("one:", "two:", 4)


def test_bad_input_is_said_in_one_line(tmp_path, model_dirs, capsys):
    template = tmp_path / "t.jinja"
    template.write_text("{{ raise_exception('no') }}")
    assert main([str(model_dirs[0]), f"--template={template}", "--prompt=hi"]) == 64
    assert capsys.readouterr().err.startswith("error: the chat template refuses")


@pytest.fixture
def run_dir(tmp_path):
    stages = ("base", "r1_zero", "preference_rl", "distill", "evaluate")
    return write_run(tmp_path / "runs" / "demo", stages=stages, unfinished="preference_rl")


def test_the_model_furthest_along_answers(run_dir):
    assert chosen_models.made_models(run_dir) == ["base", "r1_zero", "distill"]
    assert chosen_models.model_stage(run_dir, None) == stage_dir(run_dir, "r1_zero")
    chosen = chosen_models.model_of_run(run_dir, None)
    assert (chosen.name, chosen.about) == ("r1_zero", "r1_zero of run demo")
    assert chosen_models.root_model(run_dir).name == "base"


@pytest.mark.parametrize(
    "stage, why, fix",
    [
        ("r2_zero", "did you mean r1_zero", "name one of the stages that it has"),
        ("preference_rl", "has no model of preference_rl; it has base, r1_zero, distill$", r"\+stage=preference_rl"),
    ],
)
def test_a_model_that_is_not_there(run_dir, stage, why, fix):
    import re

    with pytest.raises(MissingInput, match=why) as caught:
        chosen_models.model_stage(run_dir, stage)
    assert re.search(fix, caught.value.fix)


def test_prompts_that_the_run_was_measured_on_are_offered(run_dir):
    prompts = chosen_models.known_prompts(run_dir)
    assert "what is the capital of France ?" in prompts and len(prompts) == len(set(prompts)) == 3
    (stage_dir(run_dir, "evaluate") / "samples.jsonl").unlink()
    assert chosen_models.known_prompts(run_dir) == []


def test_the_base_of_a_run_with_a_model_from_outside(run_dir, model_dirs):
    inputs = stage_dir(run_dir, "r1_zero") / "inputs.json"
    (run_dir / "base" / "latest").unlink()
    policy = {"stage": None, "path": str(model_dirs[0]), "model_dir": str(model_dirs[0]), "fingerprint": "f"}
    inputs.write_text(json.dumps({"policy": policy}))
    assert chosen_models.root_model(run_dir).directory == model_dirs[0]


@pytest.mark.parametrize(
    "overrides, stage, compare, why",
    [
        (["model=x", "run=a"], None, None, "model=x is all that says"),
        (["model=x"], None, [], "leave out --stage, --compare"),
        ([], "base", [], "--stage base and --compare"),
        ([], None, ["base"], "--compare base: name two models or more"),
    ],
)
def test_options_that_do_not_go_together(overrides, stage, compare, why):
    with pytest.raises(InvalidConfig, match=why):
        command._chosen(overrides, stage, compare)


def test_stages_and_directories_are_compared(run_dir, model_dirs):
    where = [f"runs_dir={run_dir.parent}"]
    models, known = command._chosen(where, None, ["r1_zero,", str(model_dirs[0])])
    assert [model.directory for model in models] == [stage_dir(run_dir, "r1_zero") / "model", model_dirs[0]] and known
    assert [model.name for model in command._chosen(where, None, [])[0]] == ["base", "r1_zero"]
    only_directories, _ = command._chosen([], None, [f"{model_dirs[0]},{model_dirs[1]}"])
    assert [model.directory for model in only_directories] == model_dirs
