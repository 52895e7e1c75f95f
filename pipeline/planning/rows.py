"""Rows from outside that a stage would refuse: answers that no verifier reads, and prompts that are too long."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.configuration.data_sources import all_nodes, check_source, content_of
from pipeline.configuration.model_directory import locate
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MessageAndFix, MissingInput
from pipeline.paths import REPOSITORY
from pipeline.planning import remembered
from pipeline.planning.fingerprint import data_hash
from stages.config import DataConfig, SourceConfig, TracesConfig

if TYPE_CHECKING:
    from pipeline.planning.plan import Step

LOOK_S = 60.0  # longest that the look may take, on a busy machine with a slow disk; after that the stage says it


def check_data(config: RunConfig, steps: Iterable["Step"]) -> list[MessageAndFix]:
    """What is wrong with the rows of the stages that are going to run, each source once."""
    errors: list[MessageAndFix] = []
    seen: set[str] = set()
    requests: list[dict[str, Any]] = []
    for step in steps:
        for field, data in (all_nodes(step.config) if not step.is_made else {}).items():
            for name, source in data.all_sources.items():
                key = f"{field}.sources.{name}" if data.sources else field
                request = _request(config, step, data, source, key)
                if (mark := repr((source, data.malformed, request["prompting"]))) in seen:
                    continue
                seen.add(mark)
                found = check_source(source, data.malformed, key)
                errors += found
                requests += [] if found else [request]
    for request, look in zip(requests, _looks(requests)):
        errors += _in_words(request, look) if look else []
    return list(dict.fromkeys(errors))


def _request(
    config: RunConfig, step: "Step", data: DataConfig | TracesConfig, source: SourceConfig, key: str
) -> dict[str, Any]:
    """What `stages.data.first_look` is asked about a source, and what the driver needs for the message."""
    kind = "traces" if isinstance(data, TracesConfig) else "data" if source is data else "mixture"
    plain = asdict(source)
    content = content_of(source, data_hash)
    prompting = _prompting(config, step.stage, data) if isinstance(data, DataConfig) else None
    return {"kind": kind, "source": plain, "key": key, "prompting": prompting, "content": content,
            "malformed": data.malformed}  # fmt: skip


def _prompting(config: RunConfig, stage: str, data: DataConfig) -> dict[str, Any] | None:
    """How prompts are measured; None where no tokenizer is there yet: the recipe's own base makes one."""
    model = config.model_of(stage)
    if not model.path:
        return None
    try:
        tokenizer = locate(model.path, model.revision) / "tokenizer.json"
    except MissingInput:
        return None
    if not tokenizer.is_file():
        return None
    return {
        "tokenizer": str(tokenizer),
        "template": data.template,
        "system": data.system,
        "examples": data.examples,
        "max_tokens": data.max_prompt_tokens,
    }


def _looks(requests: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """What the look says of each request: as remembered for the same content, else from a process that looks."""
    kept = {place: remembered.find(_identity(request)) for place, request in enumerate(requests)}
    asked = [place for place, value in kept.items() if value is None]
    for place, value in zip(asked, _ask([requests[place] for place in asked])):
        kept[place] = value
        if value is not None and requests[place]["content"]:
            remembered.keep(_identity(requests[place]), value)
    return [kept[place] for place in range(len(requests))]


def _identity(request: dict[str, Any]) -> list[Any]:
    prompting = request["prompting"]
    tokenizer = data_hash(Path(prompting["tokenizer"])) if prompting else ""
    return [request["kind"], request["source"], request["content"], prompting, tokenizer]


def _ask(requests: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """Lets a process look at the rows. One that fails or takes too long has seen nothing: the stage looks again."""
    if not requests:
        return []
    nothing: list[dict[str, Any] | None] = [None] * len(requests)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "request.json"
        path.write_text(json.dumps(requests), encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "stages.data.first_look", str(path)],
                capture_output=True,
                timeout=LOOK_S,
                cwd=REPOSITORY,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
            return json.loads(done.stdout) if done.returncode == 0 else nothing
        except (subprocess.TimeoutExpired, ValueError):
            return nothing


def _in_words(request: dict[str, Any], look: dict[str, Any]) -> list[MessageAndFix]:
    """The errors of a source, as its stage would say them."""
    key, path, errors = request["key"], request["source"]["path"], []
    is_useless = look["unreadable"] and look["unreadable"] == look["asked"]
    if look["unreadable"] and (request["malformed"] == "fail" or is_useless):
        some = "" if look["asked"] == look["rows"] else f" that were tried (of {look['rows']:,})"
        errors.append(
            (
                f"data file {path}: {look['unreadable']:,} of {look['asked']:,} rows{some} have an answer that cannot "
                f"be read: {_listed(look['answers'], look['unreadable'])}",
                f"name the verifier that reads them with {key}.verifier=math, exact or another one "
                f"(docs/verifiers.md), mend {path}, or leave such rows out with data.malformed=skip",
            )
        )
    if look["too_long"]:
        limit = request["prompting"]["max_tokens"]
        count = "1 prompt is" if look["too_long"] == 1 else f"{look['too_long']:,} prompts are"
        errors.append(
            (
                f"data file {path}: {count} longer than data.max_prompt_tokens={limit}: "
                f"{_listed(look['prompts'], look['too_long'])}",
                "raise data.max_prompt_tokens (and the model's context), drop these rows, or have "
                "`r1 data prepare` drop them (prepare.max_prompt)",
            )
        )
    return errors


def _listed(shown: list[str], count: int) -> str:
    more = f" ... and {count - len(shown):,} more" if count > len(shown) else ""
    return "; ".join(shown) + more
