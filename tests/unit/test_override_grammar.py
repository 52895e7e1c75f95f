"""Odd words in the grammar of overrides: each is a mistake in plain words or a value, never a library's text."""

import pytest

from pipeline.configuration import compose, spelling
from pipeline.errors import InvalidConfig

LIBRARY = (
    *("mismatched", "extraneous", "no viable", "token recognition", "Could not", "omegaconf", "OmegaConf", "ANTLR"),
    *("full_key", "object_type", "Available options", "Error parsing", "Missing mandatory", "not in struct"),
)
ODD = [
    "=", "==", "+=1", "~", "~seed", "~~seed", "++", "seed", "seed=", "seed==1", "seed = 1", " seed=1", "seed:=1",
    "data.path='x", 'data.path="x', "data.path=a,b", "data.path=(x)", "data.path=日本/é.jsonl", "data.path=a\\b",
    "data.path=x y", "data.path=\t", "data.path=a\nb", "data.path=\ud800", "data.tasks=[a,", "data.tasks={a:1}",
    "stages.r1_zero.max_completion_tokens=[[0,64]", "stages.r1_zero.optim.betas=[0.9", "stages.r1_zero=", "stages=1",
    "launcher.environment.X=${nope}", "runs_dir=${nope}", "runs_dir=${oc.env:NOPE_}", "runs_dir=${seed", "run=${run}",
    "runs_dir=${foo:1}", "seed=???", "eval.tiny.num_problems=???", "seed=choice(1,2)", "seed=range(", "seed=glob(*)",
    "hydra.nope=1", "hydra/launcher=1", "hydra/sweeper=none_such", "deepspeed@nowhere=zero1", "deepspeed@=zero1",
    "model@data=tiny", "+seed=1", "++döta.path=x", "students.a b.path=x", "selected.nope=true", "x.y.z=1", "-seed=1",
]  # fmt: skip


@pytest.mark.slow  # composes
@pytest.mark.parametrize("word", ODD)
def test_no_text_of_a_library_reaches_a_person(word, monkeypatch):
    monkeypatch.delenv("NOPE_", raising=False)
    try:
        compose.compose_config(spelling.rewrite([word]))
    except InvalidConfig as error:
        assert error.errors and all(line.strip() for line in error.errors)
        for text in LIBRARY:
            assert text not in str(error), str(error)
