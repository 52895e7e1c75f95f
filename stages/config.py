"""The one schema of the product: what every stage can be told, its type, its default, its range, its unit and its source.

Both halves use this file: the driver to check a composed configuration before anything is launched, a worker to read `config.json`.
It imports nothing heavy. Defaults are the published numbers of DeepSeek-R1 where there are any; sources in brackets:
[N] Nature 645 (2025) Methods, [V2] arXiv 2501.12948v2, [ours] our own choice where the paper is silent.

`from_dict` turns plain data into these dataclasses and reports every mistake at once, each with its key, its value and its fix.
"""
import dataclasses
import difflib
import re
import types
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stages.data.adapters import ADAPTERS
from stages.evaluation.suites import LOADERS
from stages.losses import ADVANTAGES, CORRECTIONS, LOSSES
from stages.rewards.languages import language_problem
from stages.rewards.verifiers import VERIFIERS


class ConfigError(ValueError):
    """One or more mistakes in a configuration; `errors` lists them, each a sentence with the key, the value and the fix."""

    def __init__(self, errors: list[str]):
        self.errors = list(errors)
        super().__init__("\n".join(self.errors))


def knob(default: Any, doc: str, *, gt=None, ge=None, lt=None, le=None, operational: bool = False, schema: type | None = None) -> Any:
    """A documented, range-checked field. `operational` fields do not change the stage's output and stay out of its fingerprint.
    `schema`: of a mapping that holds some fields of that class."""
    metadata = {"doc": doc, "gt": gt, "ge": ge, "lt": lt, "le": le, "operational": operational, "schema": schema}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    if isinstance(default, type) and dataclasses.is_dataclass(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def range_error(metadata: dict, value: Any) -> str | None:
    """What is wrong with a number's range, or None. Lists are checked item by item."""
    if isinstance(value, (list, tuple)):
        return next((error for error in (range_error(metadata, item) for item in value) if error), None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    for name, holds, sign in (("gt", lambda v, b: v > b, ">"), ("ge", lambda v, b: v >= b, ">="),
                              ("lt", lambda v, b: v < b, "<"), ("le", lambda v, b: v <= b, "<=")):
        bound = metadata.get(name)
        if bound is not None and not holds(value, bound):
            return f"must be {sign} {bound}, got {value}"
    return None


@dataclass(frozen=True)
class Checked:
    """Base of all config classes: ranges are checked on construction; `problems` holds rules between fields."""

    def __post_init__(self):
        errors = []
        for spec in dataclasses.fields(self):
            error = range_error(spec.metadata, getattr(self, spec.name))
            if error:
                errors.append(f"{spec.name} {error}")
        errors += self.problems()
        if errors:
            raise ConfigError(errors)

    def problems(self) -> list[str]:
        """Rules between fields, each a sentence that starts with the field's name."""
        return []


# --------------------------------------------------------------------------------------------------------------------- engines


@dataclass(frozen=True)
class OptimConfig(Checked):
    lr: float = knob(3e-6, "peak learning rate; 3e-6 for RL [N], 5e-5 for SFT [V2 B.4.2]", gt=0, le=1)
    name: Literal["adamw", "muon"] = knob("adamw", "adamw; muon: Muon for the hidden matrices, AdamW for the rest (ZeRO stage 0 only) [ours]")
    muon_lr: float = knob(0.02, "learning rate of the matrices when name=muon [ours]", gt=0, le=1)
    betas: list[float] = knob([0.9, 0.95], "AdamW momentum coefficients [ours]", ge=0, lt=1)
    eps: float = knob(1e-8, "AdamW epsilon [ours]", gt=0)
    weight_decay: float = knob(0.0, "decoupled weight decay [ours]", ge=0, le=1)
    grad_clip: float = knob(1.0, "global gradient-norm limit; 0 = none [ours]", ge=0)
    schedule: Literal["constant", "linear", "cosine"] = knob("constant", "shape of the learning rate after warm-up: cosine for SFT [V2 B.4.2]")
    warmup_steps: int = knob(0, "optimizer steps of linear warm-up [ours]", ge=0)
    constant_fraction: float = knob(0.0, "share of all steps held at the peak before the decay begins [ours]", ge=0, le=1)
    min_lr_ratio: float = knob(0.0, "final learning rate over the peak; 0.1 for SFT and distillation [V2 B.4.2-3]", ge=0, le=1)


@dataclass(frozen=True)
class DeepSpeedConfig(Checked):
    zero_stage: int = knob(0, "ZeRO stage: 0 replicas, 1 optimizer, 2 + gradients, 3 + parameters", ge=0, le=3)
    precision: Literal["fp32", "bf16"] = knob("fp32", "parameter and compute type; fp32 on CPU (bf16 is 6-8 times slower there)")
    offload_optimizer: bool = knob(False, "keep optimizer state in host memory (ZeRO 1-3, GPU)")
    offload_parameters: bool = knob(False, "keep parameters in host memory (ZeRO 3, GPU)")
    gradient_checkpointing: bool = knob(False, "recompute activations in the backward pass: less memory, 20-30% slower")

    def problems(self):
        errors = []
        if self.offload_parameters and self.zero_stage != 3:
            errors.append(f"offload_parameters needs zero_stage 3, got {self.zero_stage}: choose the zero3_offload option")
        if self.offload_optimizer and self.zero_stage == 0:
            errors.append("offload_optimizer needs zero_stage 1, 2 or 3: choose another deepspeed option")
        return errors


@dataclass(frozen=True)
class RolloutConfig(Checked):
    engine: Literal["vllm", "transformers"] = knob("vllm", "vllm in the trainer's process; transformers: slow fallback and test oracle")
    temperature: float = knob(1.0, "sampling temperature; 1 for RL, 0.7 in the last stage [N]", gt=0, le=5)
    top_p: float = knob(1.0, "share of the probability that is sampled from; 0.95 for evaluation [V2 D.1], 1 where logprobs are trained on", gt=0, le=1)
    max_sequences: int = knob(256, "most sequences decoded at once by one engine", gt=0, operational=True)
    kv_cache_gib: float = knob(0.0625, "memory for the KV cache of one engine, GiB", gt=0, operational=True)
    gpu_memory_fraction: float = knob(0.6, "share of a GPU's memory for the engine (GPU only)", gt=0, lt=1, operational=True)
    tensor_parallel: int = knob(1, "GPUs that share one engine", gt=0)
    engine_timeout_s: float = knob(900.0, "seconds that one decoding step of the engine, or a weight sync, may take before the rank fails and says so", gt=0,
                                   operational=True)
    logprob_tolerance: float = knob(1e-3, "largest |sampler - trainer| logprob that the probe after each weight sync accepts; "
                                          "1e-3 for fp32 (a step-old weight shows as 1e-2), about 0.2 for bf16", gt=0)


VLLM_CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The base model: a directory or hub id of any HF causal LM, or (path null) a small Llama that the recipe trains itself."""
    path: str | None = knob(None, "HF model directory (or a cached hub id); null: the recipe pretrains its own base")
    revision: str | None = knob(None, "hub revision")
    hidden_size: int = knob(128, "width of the recipe's own base", gt=0)
    num_layers: int = knob(3, "layers of the recipe's own base", gt=0)
    num_heads: int = knob(4, "attention heads of the recipe's own base", gt=0)
    num_kv_heads: int = knob(2, "key-value heads of the recipe's own base", gt=0)
    intermediate_size: int = knob(256, "width of the feed-forward layers of the recipe's own base", gt=0)
    max_positions: int = knob(256, "context length of the recipe's own base, tokens", gt=0)
    tie_embeddings: bool = knob(False, "share the embedding matrix with the output head of the recipe's own base")

    def problems(self):
        errors = []
        if self.hidden_size % self.num_heads:
            errors.append(f"hidden_size {self.hidden_size} is not divisible by num_heads {self.num_heads}")
        if self.num_heads % self.num_kv_heads:
            errors.append(f"num_heads {self.num_heads} is not divisible by num_kv_heads {self.num_kv_heads}")
        return errors


@dataclass(frozen=True)
class SourceConfig(Checked):
    """One set of rows from outside and what its columns mean; a column of a mapping is written with a dot (`reward_model.ground_truth`)."""
    path: str | None = knob(None, "JSONL, JSON, Parquet, CSV (.gz, .zst) or Arrow file; a directory of such files or one of datasets.save_to_disk; or a hub "
                                  "name ORGANISATION/NAME that `r1 data fetch` has brought here")
    files: str | None = knob(None, "which files of a directory or hub name, as a pattern, e.g. main/train-*.parquet; null: all data files")
    revision: str | None = knob(None, "commit of a hub name; null: main, whatever it is at the time")
    license: str | None = knob(None, "licence of the set, for the data card", operational=True)
    rows: Literal["prompts", "sft", "preferences", "labels"] = knob("prompts", "what a row is: a prompt with an answer; a prompt with a completion; a prompt "
                                                                               "with a chosen and a rejected completion; a completion labelled safe or not")
    domain: Literal["reasoning", "helpful", "safety"] = knob("reasoning", "domain of the rows: reasoning has answers that a verifier checks")
    adapter: Literal[*ADAPTERS] = knob("none", "for a published set whose columns need more than a name: a function of stages/data/adapters/")
    prompt_column: str = knob("prompt", "column with the problem: text, or a list of chat messages")
    messages_column: str | None = knob(None, "column with a chat; its user turn is the prompt and what the assistant says next the completion")
    turn: Literal["last", "first"] = knob("last", "which exchange of a chat; only the first does not refer to others")
    answer_column: str = knob("answer", "column with the reference answer")
    completion_column: str = knob("completion", "column with the completion (rows=sft and rows=labels)")
    chosen_column: str = knob("chosen", "column with the better completion: text, or a chat whose last message it is (rows=preferences)")
    rejected_column: str = knob("rejected", "column with the worse completion (rows=preferences)")
    label_column: str = knob("is_safe", "column that is true where the completion is safe (rows=labels)")
    verifier_column: str | None = knob(None, "column with the verifier of each row; where it is empty, `verifier`")
    checks_column: str | None = knob(None, "column with what the verifier needs besides the answer: JSON, or a mapping or list; with it the answer may be empty")
    language_column: str | None = knob(None, "column with the language of each row; where it is empty, `language`")
    domain_column: str | None = knob(None, "column with the domain of each row; where it is empty, `domain`")
    kind_column: str | None = knob(None, "column with the kind of each row, for samples and tables")
    id_column: str | None = knob(None, "column with a unique id of each row; null: its number")
    language: str = knob("auto", "language of the prompts, an ISO 639-1 code; auto: identified for each prompt")
    verifier: Literal[*VERIFIERS] = knob("integer", "how an answer is compared: the verifiers of stages/rewards/verifiers.py")
    check_answers: bool = knob(True, "ask the verifier of each row whether it can read the answer, before any engine starts; off for files that "
                                     "`r1 data prepare` wrote, which has asked")

    def problems(self) -> list[str]:
        why = None if self.language == "auto" else language_problem(self.language)
        return [f"language {why}, or auto"] if why else []


@dataclass(frozen=True)
class MixtureSource(SourceConfig):
    """One of several sources."""
    weight: float = knob(1.0, "share of the draws of a domain, relative to the other sources that have it", gt=0)
    preset: str | None = knob(None, "a file of conf/data/ that the other keys add to, e.g. gsm8k", operational=True)
    verifier: Literal[*VERIFIERS] = knob("math", "how an answer is compared: the verifiers of stages/rewards/verifiers.py")


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Where prompts come from. `tiny_world` and `reasoning_gym` are generated; `file` reads rows from outside: one source, or a mixture of `sources`."""
    name: Literal["tiny_world", "reasoning_gym", "file"] = knob("tiny_world", "where prompts come from; file is implied by data.path")
    sources: dict[str, MixtureSource] = knob({}, "a mixture instead of `path`: name -> source, e.g. data.sources.math.path=FILE")
    malformed: Literal["fail", "skip"] = knob("fail", "rows that cannot be used: fail, with the first of them; or skip, with their number and reasons in the log")
    template: Literal["plain", "r1_zero", "chat"] = knob("plain", "plain: 'User:...Assistant:'; r1_zero: the paper's text [V1 Table 1]; chat: the tokenizer's")
    eval_fraction: float = knob(0.1, "share of the rows or problems held out for evaluation (by a hash of the prompt, never trained on)", ge=0, lt=1)
    max_prompt_tokens: int = knob(128, "longest prompt, tokens; a longer one is an error that names the row", gt=0)
    tasks: list[str] = knob([], "name=reasoning_gym: problem families of that library, e.g. [countdown,chain_sum]")
    task_weights: list[float] = knob([], "name=reasoning_gym: their shares of the prompts, in the same order; empty: equal", ge=0)
    task_configs: dict[str, dict[str, Any]] = knob({}, "name=reasoning_gym: settings of a family, e.g. {countdown: {max_numbers: 4}}")

    def problems(self):
        if self.name == "reasoning_gym":
            from stages.reasoning_gym.families import problems
            return problems(self.tasks, self.task_weights, self.task_configs)
        if self.path and self.sources:
            return super().problems() + [f"path {self.path} and sources ({', '.join(self.sources)}) are both set: a mixture names its files in its sources"]
        return super().problems() + [f"sources.{name}.path is empty: name a file, a directory or a hub name" for name, source in self.sources.items() if not source.path]

    @property
    def all_sources(self) -> dict[str, SourceConfig]:
        """Name -> source: the mixture's, or `path` as the only one, named `file`."""
        return dict(self.sources) or ({"file": self} if self.path else {})

    @property
    def tasks_without_examples(self) -> list[str]:
        """The families of reasoning-gym among `tasks` that a base of our own cannot be taught: there are no worked examples of them."""
        if self.name != "reasoning_gym":
            return []
        from stages.reasoning_gym.examples import WRITERS
        return [task for task in self.tasks if task not in WRITERS]

    @property
    def domains(self) -> set[str]:
        """The domains that rows can have; all three where a column says."""
        return {domain for source in self.all_sources.values()
                for domain in (("reasoning", "helpful", "safety") if source.domain_column else (source.domain,))}

    @property
    def has_general_prompts(self) -> bool:
        """Whether there can be helpful or safety prompts besides those with a right answer."""
        return self.name == "tiny_world" or bool(self.domains & {"helpful", "safety"})

    def has(self, rows: str) -> bool:
        """Whether some source has rows of this type."""
        return any(source.rows == rows for source in self.all_sources.values())


@dataclass(frozen=True)
class JudgeConfig(Checked):
    """Who judges and refines where no rule can: DeepSeek-V3 in the paper [V2 B.3]. A key is never a part of this: only the name of its variable is."""
    backend: Literal["tiny_world", "openai", "vllm"] = knob("tiny_world", "tiny_world: rules of the embedded world; openai: an endpoint that speaks "
                                                            "OpenAI's protocol; vllm: a model directory in this process")
    model: str | None = knob(None, "openai: the name under which the endpoint serves the model; vllm: its directory")
    url: str | None = knob(None, "base URL of the endpoint, e.g. http://127.0.0.1:8000/v1", operational=True)
    api_key_env: str | None = knob(None, "NAME of the environment variable that holds the endpoint's key; null: no key", operational=True)
    temperature: float = knob(0.0, "sampling temperature of a judgment; not published [ours]", ge=0, le=2)
    max_tokens: int = knob(4096, "most tokens of a reply", gt=0)
    explain: bool = knob(True, "the judge explains itself before its verdict, as published; false: the verdict alone, a few tokens")
    structured: bool = knob(True, "ask for replies that follow the verdict's JSON schema (vLLM, OpenAI); false for endpoints that cannot")
    timeout_s: float = knob(120.0, "seconds for one attempt at a call", gt=0, operational=True)
    deadline_s: float = knob(600.0, "seconds for a call with all its retries and the pauses between them", gt=0, operational=True)
    retries: int = knob(5, "further attempts after a refused, failed, cut or unreadable one", ge=0, le=100, operational=True)
    concurrency: int = knob(32, "calls at once of one process", gt=0, operational=True)
    price_prompt: float = knob(0.0, "money for a million prompt tokens, in your currency", ge=0, operational=True)
    price_completion: float = knob(0.0, "money for a million completion tokens", ge=0, operational=True)
    cache_dir: str | None = knob(None, "where replies are kept, so that none is paid twice; null: judge_cache/ of the run", operational=True)
    max_model_tokens: int = knob(8192, "context of the model (vllm)", gt=0)
    precision: Literal["fp32", "bf16"] = knob("fp32", "compute type (vllm)")
    kv_cache_gib: float = knob(0.0625, "memory for the KV cache on a CPU, GiB (vllm)", gt=0, operational=True)
    gpu_memory_fraction: float = knob(0.3, "share of a GPU's memory (vllm)", gt=0, lt=1, operational=True)

    def problems(self):
        errors = []
        if self.backend != "tiny_world" and not self.model:
            errors.append(f"model is not set but backend is {self.backend}: give " + ("the name that the endpoint serves"
                          if self.backend == "openai" else "a model directory"))
        if self.backend == "openai" and not str(self.url or "").startswith(("http://", "https://")):
            errors.append(f"url must be the endpoint's base URL, as http://127.0.0.1:8000/v1, got {self.url!r}")
        if self.deadline_s < self.timeout_s:
            errors.append(f"deadline_s {self.deadline_s:g} is less than timeout_s {self.timeout_s:g}: a call would end before its first attempt")
        if self.api_key_env is not None and not self.api_key_env.replace("_", "a").isalnum():
            errors.append("api_key_env must be the NAME of an environment variable, not the key")
        return errors


@dataclass(frozen=True)
class PrepareConfig(Checked):
    """`r1 data prepare`: which rows of `data` are dropped, in this order, and where the others go."""
    output: str = knob("prepared", "directory that is written: train.parquet, card.md, card.json")
    min_prompt: int = knob(1, "shortest prompt kept, tokens of the model at model.path, else words", ge=0)
    max_prompt: int = knob(0, "longest prompt kept, in the same unit; 0 = any", ge=0)
    max_completion: int = knob(0, "longest completion kept, in the same unit; 0 = any", ge=0)
    languages: list[str] = knob([], "languages kept, e.g. [en,zh]; empty: all")
    against: dict[str, MixtureSource] = knob({}, "evaluation sets that prompts must not share words with: name -> source, e.g. prepare.against.gpqa.preset=gpqa_diamond")
    ngram: int = knob(10, "words in a row that a prompt may not share with them [V2 D.1]", gt=0)
    exact_duplicates: bool = knob(True, "drop rows whose text was there before, apart from case and white space")
    near_duplicates: float = knob(0.8, "drop rows whose 5-grams are so much those of an earlier row (estimated Jaccard similarity); 0 = keep [ours]", ge=0, le=1)
    check_answers: bool = knob(True, "drop rows whose answer their verifier cannot read")
    samples: int = knob(0, "completions of each prompt by the model at model.path, to measure its pass rate; 0 = no such filter", ge=0, le=4096)
    min_pass_rate: float = knob(0.1, "least pass rate kept: what is never solved teaches nothing [ours]", ge=0, le=1)
    max_pass_rate: float = knob(0.9, "largest pass rate kept [ours]", ge=0, le=1)
    max_completion_tokens: int = knob(2048, "most tokens of those completions", gt=0)
    processes: int = knob(0, "processes that read and filter; 0 = one a core", ge=0, operational=True)
    shown: int = knob(3, "dropped rows of each filter shown in the data card", ge=0)

    def problems(self):
        errors = [f"against.{name}.path is empty: name a file, a directory or a hub name" for name, source in self.against.items() if not source.path]
        if self.min_pass_rate > self.max_pass_rate:
            errors.append(f"min_pass_rate {self.min_pass_rate} is more than max_pass_rate {self.max_pass_rate}: nothing would be kept")
        if self.max_prompt and self.min_prompt > self.max_prompt:
            errors.append(f"min_prompt {self.min_prompt} is more than max_prompt {self.max_prompt}: nothing would be kept")
        return errors


@dataclass(frozen=True)
class SandboxConfig(Checked):
    """Where and how the programs of verifier `code` run, and what they earn (docs/sandbox.md). The limits hold for one run of one test."""
    backend: Literal["bubblewrap", "piston"] = knob("bubblewrap", "bubblewrap: boxes on this machine (Linux); piston: a server that speaks Piston's HTTP API")
    url: str = knob("", "address of the Piston server, http://HOST:2000; its token, if it wants one, in the environment variable PISTON_TOKEN", operational=True)
    python: str | None = knob(None, "interpreter that programs run in; null: /usr/bin/python3, else the one that runs the stage")
    workers: int = knob(0, "programs that run at once, for each rank; 0: the cores of the machine that training leaves free, at least 1", ge=0, operational=True)
    credit: Literal["all", "fraction", "weighted"] = knob("all", "reward of a program: 1 if it passes all tests [V2 B.3.1]; the share that it passes; the share "
                                                                 "by the tests' weights")
    time_limit_s: float = knob(4.0, "processor seconds of a test that names no limit of its own (time_limit_s in checks); APPS has 4 [ours]", gt=0, le=60)
    wall_factor: float = knob(3.0, "seconds on the clock over processor seconds, plus one: what a program may sleep, or wait on a busy machine [ours]", ge=1)
    memory_mib: int = knob(512, "memory of all processes of a program and its files, MiB, where checks names none [ours]", ge=64)
    processes: int = knob(32, "processes and threads of a program [ours]", ge=8)
    scratch_mib: int = knob(64, "files that a program may write, MiB [ours]", gt=0)
    scratch_files: int = knob(2000, "number of files that a program may write [ours]", gt=0)
    output_mib: int = knob(16, "output of a program, MiB [ours]", gt=0)
    program_limit_s: float = knob(120.0, "seconds on the clock for all tests of a program; the tests after that are not passed [ours]", gt=0)

    def problems(self):
        return ["url is empty: backend piston needs the address of the server, sandbox.url=http://HOST:2000"] if self.backend == "piston" and not self.url else []


# ---------------------------------------------------------------------------------------------------------------------- stages

PACKING = "sequences one after the other in a row without padding, with variable-length attention; auto: where the model allows it, on a GPU in bf16 only"


@dataclass(frozen=True)
class HealthConfig(Checked):
    """When a training stage raises an alarm (`stages/health.py`): it is shown by status and in the report, and stops the stage if asked to."""
    on_alarm: Literal["warn", "stop", "rollback"] = knob("warn", "warn: go on; stop: the stage fails before its next checkpoint; rollback: it goes back to the "
                                                         "last good checkpoint and leaves out the batches that led there, see skipped.jsonl [ours]", operational=True)
    max_rollbacks: int = knob(3, "rollbacks of a stage; the next one stops it [ours]", ge=0, operational=True)
    kl_limit: float = knob(1.0, "largest policy/kl, nats a token [ours]", gt=0, operational=True)
    entropy_floor: float = knob(0.005, "least policy/entropy, nats a token [ours]", ge=0, operational=True)
    truncated_limit: float = knob(0.5, "largest share of completions cut at the length limit [ours]", gt=0, le=1, operational=True)
    mismatch_kl_limit: float = knob(0.05, "largest policy/mismatch_kl of trainer and sampler, nats a token [ours]", gt=0, operational=True)
    flat_steps: int = knob(20, "steps in a row with a mean reward of 0, or without a group of different rewards [ours]", gt=0, operational=True)


@dataclass(frozen=True)
class StageConfig(Checked):
    """What every trained stage has."""
    save_every: int = knob(5, "optimizer steps between resumable checkpoints; 0 = only by time", ge=0, operational=True)
    save_every_minutes: float = knob(0.0, "minutes between them, by the clock of rank 0, whichever comes first; 0 = only by steps", ge=0, operational=True)
    save_in_background: bool = knob(True, "checkpoints are copied to host memory and written while training goes on; not with offload_optimizer", operational=True)
    keep_checkpoints: int = knob(2, "resumable checkpoints kept", gt=0, operational=True)
    health: HealthConfig = knob(HealthConfig, "alarms", operational=True)

    def problems(self):
        return [] if self.save_every or self.save_every_minutes else ["save_every and save_every_minutes are both 0: a stage that is stopped would start over; set one"]


@dataclass(frozen=True)
class PretrainConfig(StageConfig):
    """A base model from scratch on a world's corpus; only in recipes that have no base model. Not in the paper."""
    model: ModelConfig = knob(ModelConfig, "architecture")
    data: DataConfig = knob(DataConfig, "whose corpus: the tiny world's, or worked examples of families of reasoning-gym")
    num_steps: int = knob(1350, "optimizer steps", gt=0)
    batch_size: int = knob(32, "documents a step", gt=0)
    fourier_scale: float = knob(0.1, "scale of the Fourier features that number embeddings start from; 0 = random", ge=0)
    textbook_phases: list[list[float]] = knob([[0, 0.65], [250, 0.40], [500, 0.12]], "[from_step, share of textbook documents], in order")
    micro_batch_tokens: int = knob(2048, "tokens, padding included, of one forward pass of one process", gt=0, operational=True)
    optim: OptimConfig = knob(OptimConfig, "optimizer")
    deepspeed: DeepSpeedConfig = knob(DeepSpeedConfig, "DeepSpeed settings")

    def problems(self):
        errors = super().problems()
        if self.optim.name == "muon" and self.deepspeed.zero_stage > 0:
            return [*errors, f"optim.name=muon needs whole matrices on every rank, deepspeed.zero_stage 0, got {self.deepspeed.zero_stage}: "
                    "choose zero0, or optim.name=adamw"]
        if self.optim.name == "muon" and self.deepspeed.precision != "fp32":
            return [*errors, f"optim.name=muon steps in fp32, got deepspeed.precision {self.deepspeed.precision}: choose precision=fp32 here, or optim.name=adamw"]
        return errors


@dataclass(frozen=True)
class TracesConfig(SourceConfig):
    """Your own prompts and completions to fine-tune on, in the place of the data that the recipe makes."""
    rows: Literal["sft"] = knob("sft", "a prompt with a completion, thinking tags and all, or a chat of both (messages_column)")
    malformed: Literal["fail", "skip"] = knob("fail", "rows that cannot be used: fail, with the first of them; or skip, with their number and reasons in the log")

    @property
    def sources(self) -> dict[str, SourceConfig]:
        return {}

    @property
    def all_sources(self) -> dict[str, SourceConfig]:
        return {"file": self} if self.path else {}


@dataclass(frozen=True)
class SftConfig(StageConfig):
    """Supervised fine-tuning on prompt-completion pairs, loss on the completion only. Cold start, rejection SFT and distillation."""
    traces: TracesConfig = knob(TracesConfig, "your own prompts and completions to train on; path null: the recipe's data stage")
    template: Literal["plain", "r1_zero", "chat"] = knob("plain", "how prompts are put before this model, whatever its teacher's template was; see data.template")
    num_epochs: float = knob(2.0, "passes over the data: 2-3 [V2 B.4.2]", gt=0)
    max_steps: int = knob(0, "most optimizer steps; 0 = num_epochs decides", ge=0)
    batch_size: int = knob(128, "samples an optimizer step: 128 for SFT [V2 B.4.2], 64 for distillation [V2 B.4.3]", gt=0)
    max_tokens: int = knob(32768, "context length; longer samples are dropped and counted [V2 B.4.2]", gt=0)
    micro_batch_tokens: int = knob(32768, "tokens, padding included, of one forward pass of one process", gt=0, operational=True)
    packing: Literal["auto", "on", "off"] = knob("auto", PACKING, operational=True)
    optim: OptimConfig = knob(OptimConfig, "optimizer: cosine 5e-5 to 5e-6 [V2 B.4.2]")
    deepspeed: DeepSpeedConfig = knob(DeepSpeedConfig, "DeepSpeed settings")


@dataclass(frozen=True)
class RewardConfig(Checked):
    """Weights of the reward's parts; 0 leaves a part out. The reward is their weighted sum."""
    accuracy: float = knob(1.0, "1 where the answer matches the reference [V2 B.3.1]", ge=0)
    format: float = knob(1.0, "1 where the completion is <think>..</think><answer>..</answer>; 'the same weight' as accuracy [N eq. 4]", ge=0)
    language: float = knob(0.0, "share of the chain of thought's words in the prompt's language [N eq. 7]", ge=0)
    preference: float = knob(0.0, "helpful or safety reward model, general prompts only [N eq. 10]", ge=0)
    accuracy_needs_format: bool = knob(False, "count a right answer only in a well-formed completion [ours]")
    overlong: float = knob(0.0, "weight of the soft penalty, 0 to -1, in the last overlong_buffer tokens before the limit [DAPO eq. 13]", ge=0)
    overlong_buffer: int = knob(4096, "tokens over which it falls from 0 to -1; 4,096 in DAPO", gt=0)
    repetition: float = knob(0.0, "weight of the penalty, 0 to -1: the share of repeated n-grams in the completion [ours]", ge=0)
    repetition_ngram: int = knob(4, "n of these n-grams, in words, numbers, signs and CJK characters [ours]", gt=0)
    general_format: float = knob(1.0, "weight of the format part on helpful and safety prompts [N eq. 10]", ge=0)
    general_language: float = knob(1.0, "weight of the language part on helpful and safety prompts [N eq. 8]", ge=0)


@dataclass(frozen=True)
class MixConfig(Checked):
    """Shares of prompt domains; they are normalised. The paper mixes general prompts in only for the last steps."""
    reasoning: float = knob(1.0, "prompts with verifiable answers", ge=0)
    helpful: float = knob(0.0, "general prompts judged by the helpful reward model", ge=0)
    safety: float = knob(0.0, "safety prompts judged by the safety reward model", ge=0)

    def problems(self):
        return [] if self.reasoning + self.helpful + self.safety > 0 else ["reasoning, helpful and safety are all 0: give one a share"]


@dataclass(frozen=True)
class HackingConfig(Checked):
    """Reward-hacking watch: held-out accuracy against learned rewards. The rule is in stages/hacking.py."""
    every: int = knob(0, "steps between measurements, a multiple of updates_per_rollout, in the steps that have general prompts; 0: no watch [ours]", ge=0)
    num_prompts: int = knob(32, "held-out reasoning prompts of a measurement, always the same [ours]", gt=0)
    samples_per_prompt: int = knob(2, "completions of each, from the same seeds every time [ours]", gt=0)
    window: int = knob(2, "measurements that are averaged before they are compared [ours]", gt=0)
    drop: float = knob(0.05, "least fall of the accuracy that counts, however small its standard error [ours]", ge=0, le=1)
    on_hacking: Literal["warn", "stop", "end_phase"] = knob("warn", "warn: go on; stop: the stage fails before its next checkpoint; end_phase: the remaining "
                                                                    "steps have reasoning prompts and rule rewards only [ours]")


@dataclass(frozen=True)
class GrpoConfig(StageConfig):
    """Group relative policy optimisation [N eq. 1-3]; one step is one policy update [N Fig. 1]. r1_zero, reasoning_rl, preference_rl."""
    num_steps: int = knob(10400, "optimizer steps: 10,400 for R1-Zero, 1,700 for the last stage [N]; stage 2 not published", gt=0)
    prompts_per_step: int = knob(32, "unique prompts an optimizer step [N]", gt=0)
    group_size: int = knob(16, "completions of one prompt, G [N]", gt=1)
    updates_per_rollout: int = knob(16, "optimizer steps that one rollout is randomly split into: 8,192 / 512 [N]", gt=0)
    max_completion_tokens: list[list[int]] = knob([[0, 32768], [8200, 65536]], "[from_step, most tokens of a completion], in order [N]", ge=0)
    beta: float = knob(0.001, "weight of the k3 KL to the reference, in the loss [N]", ge=0)
    reference_every: int = knob(400, "steps between refreshes of the reference with the policy; 0 = never [N]", ge=0)
    clip_low: float = knob(0.2, "the ratio is clipped at 1 - clip_low; not published for R1-Zero, 10 for stage 2 [N]", gt=0)
    clip_high: float = knob(0.2, "the ratio is clipped at 1 + clip_high", gt=0)
    loss: Literal[*LOSSES] = knob("grpo", "member of the family, see stages/losses.py: grpo (mean per sequence, as in DeepSeekMath), dapo and bnpo (mean over "
                                          "all tokens), dr_grpo (a constant), gspo (ratio of whole sequences), cispo (clipped weights)")
    kl: Literal["k3", "k3_unbiased"] = knob("k3", "k3 [N eq. 2]; k3_unbiased: times the ratio, right off policy too (DeepSeek-V3.2)")
    scale_rewards: Literal[*ADVANTAGES] = knob("group", "what advantages are divided by: the standard deviation of the group [N eq. 3], of the batch, or nothing")
    advantage_eps: float = knob(1e-4, "added to that standard deviation; not published [ours]", ge=0)
    mask_truncated: bool = knob(False, "leave completions that hit the length limit out of the loss (DAPO); their rewards still count in the group")
    agreement: float = knob(1e-5, "mean |sampler - trainer| logprob of the probe up to which the sampler's logprobs are the old policy's: fp32 stays "
                                  "below; beyond it the trainer's are, and `correction` applies", ge=0)
    correction: Literal["none", *CORRECTIONS] = knob("token_truncate", "importance weights for tokens drawn by a sampler that disagrees: of the token or "
                                                     "the whole sequence, truncated (TIS) or masked (MIS) beyond correction_limit; none: the sampler's "
                                                     "logprobs are always the old policy's")
    correction_limit: float = knob(2.0, "largest importance weight", ge=1)
    oversampling: float = knob(0.0, "dynamic sampling (DAPO): prompts drawn for each group with signal that is still missing; 0 = off, groups are taken "
                                    "as they come", ge=0)
    max_sampling_rounds: int = knob(4, "most engine calls of dynamic sampling; then groups without signal fill the batch", gt=0)
    rewards: RewardConfig = knob(RewardConfig, "parts of the reward")
    reward_timeout_s: float = knob(1800.0, "seconds after the end of sampling that the rewards of a group may take before the rank fails and says which; graders "
                                           "have shorter deadlines of their own", gt=0, operational=True)
    mix: MixConfig = knob(MixConfig, "domains of the prompts")
    preference_last_steps: int = knob(0, "general prompts and the preference reward only in the last N steps; 400 of 1,700 [N]; 0 = all steps", ge=0)
    hacking: HackingConfig = knob(HackingConfig, "held-out accuracy watched beside learned rewards")
    preference_clip: float = knob(2.0, "limit of the standardised helpful reward [ours]", gt=0)
    micro_batch_tokens: int = knob(32768, "tokens, padding included, of one forward pass of one process", gt=0, operational=True)
    packing: Literal["auto", "on", "off"] = knob("auto", PACKING, operational=True)
    num_sample_prompts: int = knob(2, "groups a step of which one completion is kept in samples.jsonl", ge=0, operational=True)
    data: DataConfig = knob(DataConfig, "prompts")
    sandbox: SandboxConfig = knob(SandboxConfig, "where programs are run")
    judge: JudgeConfig = knob(JudgeConfig, "who judges where no rule can")
    rollout: RolloutConfig = knob(RolloutConfig, "sampling")
    optim: OptimConfig = knob(OptimConfig, "optimizer")
    deepspeed: DeepSpeedConfig = knob(DeepSpeedConfig, "DeepSpeed settings")

    def problems(self):
        errors = super().problems()
        if self.judge.backend == "vllm" and any(source.verifier == "judge" for source in self.data.all_sources.values()):
            errors.append("judge.backend=vllm cannot grade while the policy is sampled in the same process: serve the model and choose judge=openai")
        for name, schedule in (("max_completion_tokens", self.max_completion_tokens),):
            steps = [item[0] for item in schedule if len(item) == 2]
            if len(steps) != len(schedule) or not steps or steps[0] != 0 or steps != sorted(set(steps)):
                errors.append(f"{name} must be [[0, tokens], [step, tokens], ...] with rising steps, got {schedule}")
            elif any(item[1] <= 0 for item in schedule):
                errors.append(f"{name} must allow at least one token, got {schedule}")
        if self.num_steps < self.updates_per_rollout:
            errors.append(f"num_steps {self.num_steps} is less than updates_per_rollout {self.updates_per_rollout}: most of the one rollout would be wasted")
        if self.optim.name == "muon":
            errors.append("optim.name=muon is for pretraining; use adamw here")
        if 0 < self.oversampling < 1:
            errors.append(f"oversampling must be 0 (off) or at least 1, got {self.oversampling}: fewer prompts than missing groups can never fill the batch")
        if self.hacking.every % self.updates_per_rollout:
            errors.append(f"hacking.every {self.hacking.every} is not a multiple of updates_per_rollout {self.updates_per_rollout}: held-out completions are "
                          "sampled where a rollout begins")
        if self.rollout.top_p != 1:
            errors.append(f"rollout.top_p must be 1 here, got {self.rollout.top_p}: logprobs of a cut distribution are not the policy's")
        return errors


@dataclass(frozen=True)
class CollectConfig(Checked):
    """Sampling a policy to build SFT data: cold start [V2 B.3.2] and rejection sampling [V2 B.3.3]."""
    num_prompts: int = knob(1000, "reasoning prompts sampled", gt=0)
    samples_per_prompt: int = knob(16, "completions of each; not published [ours]", gt=0)
    few_shot: int = knob(0, "kept completions put as examples before some of the prompts [V1 2.3.1]", ge=0)
    few_shot_share: float = knob(0.5, "share of the prompts that get them; the rest is prompted directly [ours]", ge=0, le=1)
    max_completion_tokens: int = knob(32768, "most tokens of a completion", gt=0)
    keep_per_prompt: int = knob(4, "most completions kept of one prompt, distinct ones", gt=0)
    keep_total: int = knob(0, "most completions kept in all; 0 = all", ge=0)
    min_language: float = knob(1.0, "least share of the chain of thought's words in the prompt's language", ge=0, le=1)
    max_repetition: float = knob(0.5, "largest share of repeated 4-grams in a kept completion", ge=0, le=1)
    max_kept_tokens: int = knob(32768, "longest completion kept, tokens", gt=0)
    drop_code_blocks: bool = knob(False, "leave completions out whose chain of thought has a block of code: in the rejection data [V2 B.3.3]")
    max_paragraph: int = knob(0, "longest paragraph of a kept chain of thought, words and CJK characters; 0 = any. The rejection data leaves long ones out "
                                 "[V2 B.3.3], how long is not published", ge=0)
    easy_pass_rate: float = knob(1.0, "prompts of whose completions a larger share is right are easy: their shortest ones are kept, so that easy questions "
                                      "get short thoughts [V2 B.3.2, how: ours]; 1 = none is", ge=0, le=1)
    human_review: bool = knob(False, "stop when the examples are there, for people to edit them (review/export.jsonl), and go on with what they made of "
                                     "them (review/reviewed.jsonl) [V2 B.3.2]")
    refine: Literal["none", "rules", "judge"] = knob("none", "judge: the judge rewrites the thought readably in one language and writes the summary "
                                                     "[V2 B.3.2]; rules: the tiny world's refiner; none: as sampled")
    num_general: int = knob(0, "general prompt-completion pairs added: 200k of 800k [V2 B.3.3]", ge=0)
    general: Literal["data", "judge"] = knob("data", "data: from the tiny world, or the rows of data sources with rows=sft; judge: helpful prompts, answered "
                                                     "by the judge with a thought only where a task calls for one [V2 B.3.3]")
    chunk_prompts: int = knob(32, "prompts drawn in one call of the sampler; few-shot examples come from earlier chunks", gt=0)
    data: DataConfig = knob(DataConfig, "prompts")
    sandbox: SandboxConfig = knob(SandboxConfig, "where programs are run")
    judge: JudgeConfig = knob(JudgeConfig, "who judges where no rule can")
    rollout: RolloutConfig = knob(RolloutConfig, "sampling: temperature 1.0 [V2 B.3.2]")


@dataclass(frozen=True)
class RewardModelsConfig(StageConfig):
    """Two reward models with a scalar head [N]: helpful (pairs, summary only) and safety (point-wise, whole completion)."""
    num_prompts: int = knob(1000, "helpfulness prompts sampled for pairs (66,000 pairs in the paper) [N]", gt=0)
    samples_per_prompt: int = knob(8, "completions of each", gt=1)
    pairs_per_prompt: int = knob(3, "most pairs of one prompt", gt=0)
    judged_per_prompt: int = knob(12, "most pairs of one prompt that are judged; those that balance the lengths best are kept [ours]", gt=0)
    max_length_bias: float = knob(0.1, "largest difference of the mean lengths of chosen and rejected summaries, as a share of the mean length: pairs that "
                                       "lean most are left out [N: comparable lengths; how: ours]; 10 = any", gt=0)
    judgments: int = knob(4, "judgments of a pair, positions random, averaged [N]", gt=0)
    min_gap: float = knob(1.0, "pairs are kept where the averaged gap is larger [N]", ge=0)
    num_safety_prompts: int = knob(1000, "safety prompts sampled for point-wise labels (106,000 in the paper) [N]", gt=0)
    safety_samples_per_prompt: int = knob(4, "completions of each", gt=0)
    safety_temperature: float = knob(1.0, "sampling temperature of the safety data [ours]", gt=0)
    holdout_fraction: float = knob(0.15, "share of prompts kept for measuring accuracy", gt=0, lt=1)
    max_completion_tokens: int = knob(8192, "most tokens in training [N]", gt=0)
    batch_size: int = knob(256, "pairs, or labelled completions, an optimizer step [N]", gt=0)
    num_steps: int = knob(0, "optimizer steps of the helpful model; 0 = one epoch [N]", ge=0)
    safety_steps: int = knob(0, "optimizer steps of the safety model; 0 = one epoch [N]", ge=0)
    reward_l2: float = knob(0.0, "weight of the squared reward in the pairwise loss: keeps the scale [ours]", ge=0)
    micro_batch_tokens: int = knob(32768, "tokens, padding included, of one forward pass of one process", gt=0, operational=True)
    data: DataConfig = knob(DataConfig, "prompts")
    judge: JudgeConfig = knob(JudgeConfig, "who judges where no rule can")
    rollout: RolloutConfig = knob(RolloutConfig, "sampling")
    optim: OptimConfig = knob(OptimConfig, "optimizer: 6e-6 [N]")
    deepspeed: DeepSpeedConfig = knob(DeepSpeedConfig, "DeepSpeed settings")


@dataclass(frozen=True)
class SuiteConfig(Checked):
    """A suite of problems and the paper's protocol for it [V2 D.1]. conf/eval/ has a file for each: eval=[aime24,math500] chooses some."""
    loader: Literal[*LOADERS] = knob("own", "schema of its rows: the modules of stages/evaluation/suites/")
    path: str | None = knob(None, "local file in the published schema: JSONL, JSON, CSV or Parquet; null: the hub's")
    hub: str | None = knob(None, "data set of the hub, OWNER/NAME; read from the cache, or downloaded where HF_HUB_OFFLINE=0 is set")
    hub_config: str | None = knob(None, "configuration of that data set")
    split: str = knob("test", "split of that data set")
    revision: str | None = knob(None, "revision of that data set")
    num_problems: int = knob(0, "only the first so many problems; 0 = all", ge=0)
    samples_per_prompt: int = knob(16, "k: 64 for AIME and GPQA, 16 for MATH-500 and Codeforces, 8 for LiveCodeBench [V2 D.1]", gt=0)
    temperature: float = knob(0.6, "sampling temperature [V2 D.1]", gt=0, le=5)
    top_p: float = knob(0.95, "share of the probability that is sampled from [V2 D.1]", gt=0, le=1)
    max_completion_tokens: int = knob(32768, "most tokens of a completion [V2 D.1]", gt=0)
    template: Literal["auto", "plain", "r1_zero", "chat"] = knob("auto", "how a prompt is put before the model; auto: chat where the tokenizer has a template, "
                                                                         "else data.template")
    needs_format: bool = knob(False, "an answer counts only in a well-formed <think>..</think><answer>..</answer> [ours]")
    since: str | None = knob(None, "first date of the contests, as 2024-08-01 [V2: LiveCodeBench 2024-08 to 2025-01]")
    until: str | None = knob(None, "last date of the contests")
    standings: str | None = knob(None, "codeforces: directory with CONTEST.standings.json and CONTEST.ratings.json, for a rating; it counts by content",
                                 operational=True)

    def problems(self):
        return [f"{name} must be a date as 2024-08-01, got {value!r}" for name in ("since", "until")
                if (value := getattr(self, name)) is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d", value)]


@dataclass(frozen=True)
class EvaluateConfig(Checked):
    """Every model on the same problems [V2 D.1]: pass@1 is the mean over k samples, cons@k the majority vote."""
    models: list[str] = knob([], "stages whose models are evaluated; empty: all of this recipe")
    directories: list[str] = knob([], "model directories that are evaluated instead, HF or of a stage; their content is part of the fingerprint", operational=True)
    suites: list[str] = knob([], "suites of conf/eval/ [V2 D.1]; empty: the held-out prompts of the run's own data")
    settings: dict[str, SuiteConfig] = knob({}, "the keys eval.* of these suites, put here by the driver")
    num_reasoning: int = knob(256, "held-out reasoning prompts", gt=0)
    num_general: int = knob(192, "held-out general prompts", ge=0)
    num_safety: int = knob(128, "held-out safety prompts, half harmful, half benign", ge=0)
    samples_per_prompt: int = knob(16, "k of the run's own prompts: 64 for AIME and GPQA, 16 for MATH and CodeForces [V2 D.1]", gt=0)
    general_samples_per_prompt: int = knob(1, "k of the general and safety sets", gt=0)
    max_completion_tokens: int = knob(32768, "most tokens of a completion [V2 D.1]", gt=0)
    precision: Literal["fp32", "bf16"] = knob("fp32", "type of the weights and activations; fp32 on CPU")
    num_shown: int = knob(6, "prompts whose first completion by every model goes to samples.jsonl", ge=0)
    data: DataConfig = knob(DataConfig, "prompts")
    sandbox: SandboxConfig = knob(SandboxConfig, "where programs are run")
    judge: JudgeConfig = knob(JudgeConfig, "who judges where no rule can")
    rollout: RolloutConfig = knob(RolloutConfig, "sampling: temperature 0.6, top-p 0.95 in the paper [V2 D.1]")

    def problems(self):
        return [f"suites: {name!r} has no settings: the driver puts them into settings.{name}" for name in self.suites if self.settings and name not in self.settings]


# ------------------------------------------------------------------------------------------------------- plain data to dataclasses


def from_dict(cls: type, data: Any, path: str = "") -> Any:
    """Builds `cls` from plain data. Raises ConfigError with every mistake found, each naming its full key."""
    errors: list[str] = []
    result = _convert(cls, data, path, errors)
    if errors:
        raise ConfigError(errors)
    return result


def to_dict(config: Any) -> Any:
    """The plain data that `from_dict` reads."""
    return dataclasses.asdict(config)


def _convert(expected: Any, value: Any, path: str, errors: list[str]) -> Any:
    origin = get_origin(expected)
    if expected is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(expected):
            return None
        return _convert(next(arg for arg in get_args(expected) if arg is not type(None)), value, path, errors)
    if dataclasses.is_dataclass(expected):
        return _convert_dataclass(expected, value, path, errors)
    if origin is Literal:
        if value not in get_args(expected):
            errors.append(f"{path}: {value!r} is not one of {', '.join(map(str, get_args(expected)))}{_hint(value, get_args(expected))}")
        return value
    if origin is list:
        if not isinstance(value, (list, tuple)):
            errors.append(f"{path}: expected a list, got {value!r}")
            return []
        return [_convert(get_args(expected)[0], item, f"{path}[{i}]", errors) for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            errors.append(f"{path}: expected a mapping, got {value!r}")
            return {}
        return {key: _convert(get_args(expected)[1], item, f"{path}.{key}", errors) for key, item in value.items()}
    return _convert_scalar(expected, value, path, errors)


def _convert_scalar(expected: type, value: Any, path: str, errors: list[str]) -> Any:
    if expected is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if expected is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, expected) and not (expected is int and isinstance(value, bool)):
        return value
    words = {int: "an integer", float: "a number", str: "text", bool: "true or false"}
    errors.append(f"{path}: expected {words.get(expected, expected.__name__)}, got {value!r}")
    return value


def _convert_dataclass(cls: type, data: Any, path: str, errors: list[str]) -> Any:
    if not isinstance(data, dict):
        errors.append(f"{path}: expected a mapping of {cls.__name__} fields, got {data!r}")
        return None
    hints = get_type_hints(cls)
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}
    prefix = f"{path}." if path else ""
    for key in data:
        if key not in specs:
            errors.append(f"{prefix}{key}: unknown key{_hint(key, specs)}")
    values, before = {}, len(errors)
    for name, spec in specs.items():
        if name not in data:
            continue
        values[name] = _convert(hints[name], data[name], prefix + name, errors)
        error = range_error(spec.metadata, values[name])
        if error:
            errors.append(f"{prefix}{name}: {error}. {spec.metadata.get('doc', '')}".rstrip())
    if len(errors) > before:
        return None
    try:
        return cls(**values)
    except ConfigError as error:
        errors += [prefix + line for line in error.errors]
    except TypeError as error:
        errors.append(f"{path or cls.__name__}: {error}")
    return None


def _hint(value: Any, known) -> str:
    close = difflib.get_close_matches(str(value), list(map(str, known)), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def output_fields(config: Any) -> Any:
    """The part of a config that decides the stage's output: everything but the operational fields. The fingerprint hashes this."""
    if dataclasses.is_dataclass(config):
        return {spec.name: output_fields(getattr(config, spec.name)) for spec in dataclasses.fields(config)
                if not spec.metadata.get("operational")}
    if isinstance(config, dict):
        return {key: output_fields(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [output_fields(value) for value in config]
    return config


KINDS: dict[str, type] = {"pretrain": PretrainConfig, "sft": SftConfig, "grpo": GrpoConfig, "collect": CollectConfig,
                          "reward_models": RewardModelsConfig, "evaluate": EvaluateConfig}

# Raise a kind's version when its code changes what it produces: old directories are then made anew instead of trusted.
VERSIONS: dict[str, int] = {"pretrain": 3, "sft": 3, "grpo": 3, "collect": 3, "reward_models": 2, "evaluate": 2, "report": 1}
