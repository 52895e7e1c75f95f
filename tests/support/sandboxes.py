"""What tests of the sandbox share: when they are skipped, prompts with tests, and a look for processes that were left
behind.
"""

import json
import os
import shutil

import psutil
import pytest

from stages.prompting.prompt import Prompt
from stages.sandbox import process

needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed (apt-get install bubblewrap)"
)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed (apt-get install g++)")


def code_prompt(**checks) -> Prompt:
    return Prompt("p", "a problem", "file", "reasoning", "en", "", verifier="code", checks=json.dumps(checks))


def answer(source: str, tag: str = "python") -> str:
    return f"<think>I write a program.</think><answer>Here it is:\n```{tag}\n{source}\n```\n</answer>"


def stdin_prompt(*pairs: tuple[str, str], **more) -> Prompt:
    return code_prompt(type="stdin", tests=[{"input": given, "output": wanted} for given, wanted in pairs], **more)


class Boxes:
    """The process-id namespaces of the boxes that were made, seen as `process.Box` opens them."""

    def __init__(self, monkeypatch):
        self.namespaces: set[str] = set()
        opened = process.Box.__init__

        def record(box, init):
            self.namespaces.add(os.readlink(f"/proc/{init}/ns/pid"))
            opened(box, init)

        monkeypatch.setattr(process.Box, "__init__", record)

    def left(self) -> list[str]:
        """Processes that live in one of them; those that have ended and wait for the first process of the machine to
        notice do not.
        """
        processes = [psutil.Process(pid) for pid in psutil.pids() if _namespace_of(pid) in self.namespaces]
        return [
            str(process) for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]


def _namespace_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""
