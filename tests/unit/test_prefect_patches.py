"""What `pipeline/execution/prefect/patches.py` uses of Prefect is still there, and still does what it is used for.

Each in a process of its own: Prefect reads its settings as it is imported, and ends its queues at exit.
"""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow  # imports Prefect

# A queue of Prefect's own kind, without a server: each item takes `pause` seconds.
QUEUE = """
import asyncio, sys
from pathlib import Path
from pipeline.execution.prefect import server
server.prepare_environment(Path(sys.argv[1]))
from prefect._internal.concurrency.services import QueueService
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from pipeline.execution.prefect import patches

class Slow(QueueService):
    pause, sent = 0.0, []
    async def _handle(self, item):
        await asyncio.sleep(self.pause)
        self.sent.append(item)

for worker in (APILogWorker, EventsWorker):
    assert issubclass(worker, QueueService), f"{worker.__name__} is no queue of this kind any more"
"""
PATCHES = {
    "send_queued_messages": """
Slow.pause = 0.3
for item in range(3):
    Slow.instance().send(item)
patches.send_queued_messages(timeout_s=20)
assert Slow.sent == [0, 1, 2], Slow.sent
""",
    "drop_queued_messages": """
Slow.pause = 300.0
for item in range(3):
    Slow.instance().send(item)
patches.drop_queued_messages()
""",
}


@pytest.mark.parametrize("patch", PATCHES)
def test_the_private_part_of_prefect_is_where_the_patch_expects_it(patch, tmp_path):
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", QUEUE + PATCHES[patch], str(tmp_path)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=100,
        )
        said = done.stdout + done.stderr if done.returncode else ""
    except subprocess.TimeoutExpired:
        said = f"the process did not end in {time.monotonic() - started:.0f} s"
    assert not said, f"patches.{patch} does not fit this version of Prefect any more:\n{said}"


def test_every_patch_is_tested_and_says_why_it_is_there_and_until_when():
    tree = ast.parse((REPOSITORY / "pipeline/execution/prefect/patches.py").read_text(encoding="utf-8"))
    functions = {node.name: ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(functions) == set(PATCHES)
    for name, text in functions.items():
        for part in ("Reason:", "Private part:", "Versions:", "Remove when:"):
            assert part in text, f"patches.{name} does not say: {part}"


def test_no_other_file_uses_private_parts_of_prefect():
    users = [
        path.relative_to(REPOSITORY)
        for path in sorted((REPOSITORY / "pipeline").rglob("*.py"))
        if "prefect._" in path.read_text(encoding="utf-8")
    ]
    assert [str(user) for user in users] == [str(Path("pipeline/execution/prefect/patches.py"))]
