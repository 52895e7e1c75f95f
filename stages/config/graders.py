"""Who judges where no rule can, and where programs run."""

from typing import Literal

from stages.config.choices import Precision
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting


@config_class
class JudgeConfig(Checked):
    """Who judges and refines where no rule can: DeepSeek-V3 in the paper [V2 B.3].

    A key is never part of this: only the name of the environment variable that holds it.
    """

    backend: Literal["tiny_world", "english", "openai", "vllm"] = setting(
        "tiny_world",
        "tiny_world: the rules of the embedded world; english: the rules of the English world's general and safety "
        "prompts (data.general=english); openai: an endpoint that speaks OpenAI's protocol; vllm: a model "
        "directory, loaded into this process.",
    )
    model: str | None = setting(
        None, "backend=openai: the name under which the endpoint serves the model; backend=vllm: its directory."
    )
    url: str | None = setting(None, "Base URL of the endpoint, e.g. http://127.0.0.1:8000/v1.", operational=True)
    api_key_env: str | None = setting(
        None, "NAME of the environment variable that holds the endpoint's key; null: no key.", operational=True
    )
    temperature: Float = setting(
        0.0, "Sampling temperature of a judgment; the paper publishes none [ours].", unit="none", ge=0, le=2
    )
    max_tokens: Int = setting(4096, "Longest reply [ours].", unit="tokens", gt=0)
    explain: Bool = setting(
        True,
        "Whether the judge explains itself before its verdict, as published [V2 B.3]; false: it gives the verdict "
        "alone, a few tokens.",
    )
    structured: Bool = setting(
        True,
        "Whether replies are asked for that follow the verdict's JSON schema (vLLM, OpenAI); false for endpoints that "
        "cannot do that.",
    )
    timeout_s: Float = setting(120.0, "Longest attempt at a call.", unit="seconds", gt=0, operational=True)
    deadline_s: Float = setting(
        600.0,
        "Longest call, with all its retries and the pauses between them.",
        unit="seconds",
        gt=0,
        operational=True,
    )
    retries: Int = setting(
        5,
        "Further attempts after one that was refused, failed, was cut off or could not be read.",
        unit="attempts",
        ge=0,
        le=100,
        operational=True,
    )
    concurrency: Int = setting(32, "Calls of one process at the same time.", unit="calls", gt=0, operational=True)
    price_prompt: Float = setting(
        0.0, "Price of prompt tokens.", unit="your currency for a million tokens", ge=0, operational=True
    )
    price_completion: Float = setting(
        0.0, "Price of completion tokens.", unit="your currency for a million tokens", ge=0, operational=True
    )
    cache_dir: str | None = setting(
        None,
        "Directory where replies are kept, so that none is paid for twice; null: judge_cache/ of the run.",
        operational=True,
    )
    max_model_tokens: Int = setting(8192, "Context length of the model (backend=vllm).", unit="tokens", gt=0)
    precision: Precision = setting("fp32", "Type of parameters and computations (backend=vllm).")
    kv_cache_gib: Float = setting(
        0.0625, "Memory for the KV cache on a CPU (backend=vllm).", unit="GiB", gt=0, operational=True
    )
    gpu_memory_fraction: Float = setting(
        0.3,
        "Share of a GPU's memory that the model takes (backend=vllm).",
        unit="share",
        gt=0,
        lt=1,
        operational=True,
    )

    def mistakes(self) -> list[str]:
        """A judge from outside has a model and an address, and a call can make one attempt at least."""
        errors = []
        if self.backend not in ("tiny_world", "english") and not self.model:
            what = "the name that the endpoint serves" if self.backend == "openai" else "a model directory"
            errors.append(f"model is not set but backend is {self.backend}: give {what}")
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

    def idle(self) -> dict[str, str]:
        """What is not of the chosen backend."""
        of_endpoint = ("url", "api_key_env", "timeout_s", "deadline_s", "retries", "concurrency", "price_prompt",
                       "price_completion", "structured")  # fmt: skip
        of_vllm = ("max_model_tokens", "precision", "kv_cache_gib", "gpu_memory_fraction")
        of_both = ("model", "temperature", "max_tokens", "explain", "cache_dir")
        unused = {"openai": of_vllm, "vllm": of_endpoint[:5]}.get(self.backend, (*of_endpoint, *of_vllm, *of_both))
        return dict.fromkeys(unused, f"backend={self.backend}")


@config_class
class SandboxConfig(Checked):
    """Where and how the programs of the verifier `code` run, and what they earn (docs/sandbox.md).

    The limits hold for one run of one test.
    """

    backend: Literal["bubblewrap", "piston"] = setting(
        "bubblewrap", "bubblewrap: boxes on this machine (Linux); piston: a server that speaks Piston's HTTP API."
    )
    url: str = setting(
        "",
        "Address of the Piston server, http://HOST:2000. Its token, if it wants one, is in the environment variable "
        "PISTON_TOKEN.",
        operational=True,
    )
    python: str | None = setting(
        None, "Interpreter that programs run in; null: /usr/bin/python3, else the one that runs the stage."
    )
    workers: Int = setting(
        0,
        "Programs that run at once, for each rank; 0: as many as cores that training leaves free, 1 at least.",
        unit="programs",
        ge=0,
        operational=True,
    )
    credit: Literal["all", "fraction", "weighted"] = setting(
        "all",
        "Reward of a program. all: 1 if it passes all tests [V2 B.3.1]; fraction: the share of tests that it passes; "
        "weighted: that share by the tests' weights.",
    )
    time_limit_s: Float = setting(
        4.0,
        "Processor time of a test that names no limit of its own (time_limit_s in checks); APPS has 4 [ours].",
        unit="seconds",
        gt=0,
        le=60,
    )
    wall_factor: Float = setting(
        3.0,
        "Time on the clock over processor time, plus one second: what a program may sleep, or wait on a busy machine "
        "[ours].",
        unit="none",
        ge=1,
    )
    memory_mib: Int = setting(
        512,
        "Memory of all processes of a program and its files, where checks names none [ours].",
        unit="MiB",
        ge=64,
    )
    processes: Int = setting(32, "Processes and threads of a program [ours].", unit="processes", ge=8)
    scratch_mib: Int = setting(64, "Size of the files that a program may write [ours].", unit="MiB", gt=0)
    scratch_files: Int = setting(2000, "Number of files that a program may write [ours].", unit="files", gt=0)
    output_mib: Int = setting(16, "Output of a program [ours].", unit="MiB", gt=0)
    program_limit_s: Float = setting(
        120.0,
        "Time on the clock for all tests of a program. The tests after that are not passed [ours].",
        unit="seconds",
        gt=0,
    )

    def mistakes(self) -> list[str]:
        """A server has an address."""
        if self.backend == "piston" and not self.url:
            return ["url is empty: backend piston needs the address of the server, sandbox.url=http://HOST:2000"]
        return []

    def idle(self) -> dict[str, str]:
        """Boxes on this machine have no address."""
        return {} if self.backend == "piston" else {"url": f"backend={self.backend}"}
