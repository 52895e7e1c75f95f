"""What every test gets: one thread, no network, and the package's own guards before anything heavy is imported."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

import stages  # noqa: F401  (its import sets the engines' environment; it must come before torch)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout, the working directory of every subprocess a test starts."""
    return REPOSITORY


def pytest_collection_modifyitems(items):
    """Tests with the real engines are marked by their place: tests/engines and tests/e2e."""
    for item in items:
        if {REPOSITORY / "tests" / "engines", REPOSITORY / "tests" / "e2e"} & set(item.path.parents):
            item.add_marker(pytest.mark.engine)
