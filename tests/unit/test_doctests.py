"""The examples in docstrings give what they say."""

import doctest
import importlib

import pytest

from tests.support.paths import REPOSITORY


def modules_with_examples() -> list[str]:
    paths = [path for half in ("pipeline", "stages", "scripts") for path in sorted((REPOSITORY / half).rglob("*.py"))]
    return [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in paths
        if ">>> " in path.read_text(encoding="utf-8")
    ]


def test_there_are_examples():
    assert len(modules_with_examples()) > 10


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_of(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0 and result.failed == 0
