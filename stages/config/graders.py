"""Who judges where no rule can, and where programs run."""

from typing import Literal

from stages.config.choices import Precision
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting


@config_class
class JudgeConfig(Checked):
    """Who judges and refines where no rule can: DeepSeek-V3 in the paper [V2 B.3]. A key is never a part of this: only
    the name of its variable is.
    """

    backend: Literal["tiny_world", "openai", "vllm"] = setting(
        "tiny_world",
        "tiny_world: rules of the embedded world; openai: an endpoint that speaks "
        "OpenAI's protocol; vllm: a model directory in this process",
    )
    model: str | None = setting(None, "openai: the name under which the endpoint serves the model; vllm: its directory")
    url: str | None = setting(None, "base URL of the endpoint, e.g. http://127.0.0.1:8000/v1", operational=True)
    api_key_env: str | None = setting(
        None, "NAME of the environment variable that holds the endpoint's key; null: no key", operational=True
    )
    temperature: Float = setting(0.0, "sampling temperature of a judgment; not published [ours]", ge=0, le=2)
    max_tokens: Int = setting(4096, "most tokens of a reply", gt=0)
    explain: Bool = setting(
        True, "the judge explains itself before its verdict, as published; false: the verdict alone, a few tokens"
    )
    structured: Bool = setting(
        True, "ask for replies that follow the verdict's JSON schema (vLLM, OpenAI); false for endpoints that cannot"
    )
    timeout_s: Float = setting(120.0, "seconds for one attempt at a call", gt=0, operational=True)
    deadline_s: Float = setting(
        600.0, "seconds for a call with all its retries and the pauses between them", gt=0, operational=True
    )
    retries: Int = setting(
        5, "further attempts after a refused, failed, cut or unreadable one", ge=0, le=100, operational=True
    )
    concurrency: Int = setting(32, "calls at once of one process", gt=0, operational=True)
    price_prompt: Float = setting(0.0, "money for a million prompt tokens, in your currency", ge=0, operational=True)
    price_completion: Float = setting(0.0, "money for a million completion tokens", ge=0, operational=True)
    cache_dir: str | None = setting(
        None, "where replies are kept, so that none is paid twice; null: judge_cache/ of the run", operational=True
    )
    max_model_tokens: Int = setting(8192, "context of the model (vllm)", gt=0)
    precision: Precision = setting("fp32", "compute type (vllm)")
    kv_cache_gib: Float = setting(0.0625, "memory for the KV cache on a CPU, GiB (vllm)", gt=0, operational=True)
    gpu_memory_fraction: Float = setting(0.3, "share of a GPU's memory (vllm)", gt=0, lt=1, operational=True)

    def mistakes(self):
        errors = []
        if self.backend != "tiny_world" and not self.model:
            errors.append(
                f"model is not set but backend is {self.backend}: give "
                + ("the name that the endpoint serves" if self.backend == "openai" else "a model directory")
            )
        if self.backend == "openai" and not str(self.url or "").startswith(("http://", "https://")):
            errors.append(f"url must be the endpoint's base URL, as http://127.0.0.1:8000/v1, got {self.url!r}")
        if self.deadline_s < self.timeout_s:
            errors.append(
                f"deadline_s {self.deadline_s:g} is less than timeout_s {self.timeout_s:g}: "
                "a call would end before its first attempt"
            )
        if self.api_key_env is not None and not self.api_key_env.replace("_", "a").isalnum():
            errors.append("api_key_env must be the NAME of an environment variable, not the key")
        return errors


@config_class
class SandboxConfig(Checked):
    """Where and how the programs of verifier `code` run, and what they earn (docs/sandbox.md). The limits hold for one
    run of one test.
    """

    backend: Literal["bubblewrap", "piston"] = setting(
        "bubblewrap", "bubblewrap: boxes on this machine (Linux); piston: a server that speaks Piston's HTTP API"
    )
    url: str = setting(
        "",
        "address of the Piston server, http://HOST:2000; its token, if it wants one, "
        "in the environment variable PISTON_TOKEN",
        operational=True,
    )
    python: str | None = setting(
        None, "interpreter that programs run in; null: /usr/bin/python3, else the one that runs the stage"
    )
    workers: Int = setting(
        0,
        "programs that run at once, for each rank; 0: the cores of the machine that training leaves free, at least 1",
        ge=0,
        operational=True,
    )
    credit: Literal["all", "fraction", "weighted"] = setting(
        "all",
        "reward of a program: 1 if it passes all tests [V2 B.3.1]; the share that it passes; the share "
        "by the tests' weights",
    )
    time_limit_s: Float = setting(
        4.0,
        "processor seconds of a test that names no limit of its own (time_limit_s in checks); APPS has 4 [ours]",
        gt=0,
        le=60,
    )
    wall_factor: Float = setting(
        3.0,
        "seconds on the clock over processor seconds, plus one: what a program may sleep, "
        "or wait on a busy machine [ours]",
        ge=1,
    )
    memory_mib: Int = setting(
        512, "memory of all processes of a program and its files, MiB, where checks names none [ours]", ge=64
    )
    processes: Int = setting(32, "processes and threads of a program [ours]", ge=8)
    scratch_mib: Int = setting(64, "files that a program may write, MiB [ours]", gt=0)
    scratch_files: Int = setting(2000, "number of files that a program may write [ours]", gt=0)
    output_mib: Int = setting(16, "output of a program, MiB [ours]", gt=0)
    program_limit_s: Float = setting(
        120.0, "seconds on the clock for all tests of a program; the tests after that are not passed [ours]", gt=0
    )

    def mistakes(self):
        return (
            ["url is empty: backend piston needs the address of the server, sandbox.url=http://HOST:2000"]
            if self.backend == "piston" and not self.url
            else []
        )
