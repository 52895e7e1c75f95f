"""Sampling without training: the data-building stages, and evaluation with its suites."""

import re
from typing import Literal

from stages.config.choices import Loader, Precision
from stages.config.data import DataConfig
from stages.config.engines import RolloutConfig
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting
from stages.config.graders import JudgeConfig, SandboxConfig


@config_class
class CollectConfig(Checked):
    """Sampling a policy to build SFT data: cold start [V2 B.3.2] and rejection sampling [V2 B.3.3]."""

    num_prompts: Int = setting(1000, "reasoning prompts sampled", gt=0)
    samples_per_prompt: Int = setting(16, "completions of each; not published [ours]", gt=0)
    few_shot: Int = setting(0, "kept completions put as examples before some of the prompts [V1 2.3.1]", ge=0)
    few_shot_share: Float = setting(
        0.5, "share of the prompts that get them; the rest is prompted directly [ours]", ge=0, le=1
    )
    max_completion_tokens: Int = setting(32768, "most tokens of a completion", gt=0)
    keep_per_prompt: Int = setting(4, "most completions kept of one prompt, distinct ones", gt=0)
    keep_total: Int = setting(0, "most completions kept in all; 0 = all", ge=0)
    min_language: Float = setting(
        1.0, "least share of the chain of thought's words in the prompt's language", ge=0, le=1
    )
    max_repetition: Float = setting(0.5, "largest share of repeated 4-grams in a kept completion", ge=0, le=1)
    max_kept_tokens: Int = setting(32768, "longest completion kept, tokens", gt=0)
    drop_code_blocks: Bool = setting(
        False, "leave completions out whose chain of thought has a block of code: in the rejection data [V2 B.3.3]"
    )
    max_paragraph: Int = setting(
        0,
        "longest paragraph of a kept chain of thought, words and CJK characters; 0 = any. "
        "The rejection data leaves long ones out "
        "[V2 B.3.3], how long is not published",
        ge=0,
    )
    easy_pass_rate: Float = setting(
        1.0,
        "prompts of whose completions a larger share is right are easy: their shortest ones are kept, "
        "so that easy questions "
        "get short thoughts [V2 B.3.2, how: ours]; 1 = none is",
        ge=0,
        le=1,
    )
    human_review: Bool = setting(
        False,
        "stop when the examples are there, for people to edit them (review/export.jsonl), "
        "and go on with what they made of "
        "them (review/reviewed.jsonl) [V2 B.3.2]",
    )
    refine: Literal["none", "rules", "judge"] = setting(
        "none",
        "judge: the judge rewrites the thought readably in one language and writes the summary "
        "[V2 B.3.2]; rules: the tiny world's refiner; none: as sampled",
    )
    num_general: Int = setting(0, "general prompt-completion pairs added: 200k of 800k [V2 B.3.3]", ge=0)
    general: Literal["data", "judge"] = setting(
        "data",
        "data: from the tiny world, or the rows of data sources with rows=sft; judge: helpful prompts, answered "
        "by the judge with a thought only where a task calls for one [V2 B.3.3]",
    )
    chunk_prompts: Int = setting(
        32, "prompts drawn in one call of the sampler; few-shot examples come from earlier chunks", gt=0
    )
    data: DataConfig = setting(DataConfig, "prompts")
    sandbox: SandboxConfig = setting(SandboxConfig, "where programs are run")
    judge: JudgeConfig = setting(JudgeConfig, "who judges where no rule can")
    rollout: RolloutConfig = setting(RolloutConfig, "sampling: temperature 1.0 [V2 B.3.2]")


@config_class
class SuiteConfig(Checked):
    """A suite of problems and the paper's protocol for it [V2 D.1]. conf/eval/ has a file for each:
    eval=[aime24,math500] chooses some.
    """

    loader: Loader = setting("own", "schema of its rows: the modules of stages/kinds/evaluation/suites/")
    path: str | None = setting(None, "local file in the published schema: JSONL, JSON, CSV or Parquet; null: the hub's")
    hub: str | None = setting(
        None, "data set of the hub, OWNER/NAME; read from the cache, or downloaded where HF_HUB_OFFLINE=0 is set"
    )
    hub_config: str | None = setting(None, "configuration of that data set")
    split: str = setting("test", "split of that data set")
    revision: str | None = setting(None, "revision of that data set")
    num_problems: Int = setting(0, "only the first so many problems; 0 = all", ge=0)
    samples_per_prompt: Int = setting(
        16, "k: 64 for AIME and GPQA, 16 for MATH-500 and Codeforces, 8 for LiveCodeBench [V2 D.1]", gt=0
    )
    temperature: Float = setting(0.6, "sampling temperature [V2 D.1]", gt=0, le=5)
    top_p: Float = setting(0.95, "share of the probability that is sampled from [V2 D.1]", gt=0, le=1)
    max_completion_tokens: Int = setting(32768, "most tokens of a completion [V2 D.1]", gt=0)
    template: Literal["auto", "data", "plain", "r1_zero", "chat"] = setting(
        "auto",
        "how a prompt is put before every model; auto: as the model was trained, where "
        "a stage of ours made it, else chat where its tokenizer has a template, else "
        "data.template; data: without the chat",
    )
    needs_format: Bool = setting(
        False, "an answer counts only in a well-formed <think>..</think><answer>..</answer> [ours]"
    )
    since: str | None = setting(
        None, "first date of the contests, as 2024-08-01 [V2: LiveCodeBench 2024-08 to 2025-01]"
    )
    until: str | None = setting(None, "last date of the contests")
    standings: str | None = setting(
        None,
        "codeforces: directory with CONTEST.standings.json and CONTEST.ratings.json, for a rating; "
        "it counts by content",
        operational=True,
    )

    def mistakes(self):
        return [
            f"{name} must be a date as 2024-08-01, got {value!r}"
            for name in ("since", "until")
            if (value := getattr(self, name)) is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d", value)
        ]


@config_class
class EvaluateConfig(Checked):
    """Every model on the same problems [V2 D.1]: pass@1 is the mean over k samples, cons@k the majority vote."""

    models: list[str] = setting([], "stages whose models are evaluated; empty: all of this recipe")
    directories: list[str] = setting(
        [],
        "model directories that are evaluated instead, HF or of a stage; their content is part of the fingerprint",
        operational=True,
    )
    suites: list[str] = setting([], "suites of conf/eval/ [V2 D.1]; empty: the held-out prompts of the run's own data")
    settings: dict[str, SuiteConfig] = setting({}, "the keys eval.* of these suites, put here by the driver")
    num_reasoning: Int = setting(256, "held-out reasoning prompts", gt=0)
    num_general: Int = setting(192, "held-out general prompts", ge=0)
    num_safety: Int = setting(128, "held-out safety prompts, half harmful, half benign", ge=0)
    samples_per_prompt: Int = setting(
        16, "k of the run's own prompts: 64 for AIME and GPQA, 16 for MATH and CodeForces [V2 D.1]", gt=0
    )
    general_samples_per_prompt: Int = setting(1, "k of the general and safety sets", gt=0)
    max_completion_tokens: Int = setting(32768, "most tokens of a completion [V2 D.1]", gt=0)
    precision: Precision = setting("fp32", "type of the weights and activations; fp32 on CPU")
    num_shown: Int = setting(6, "prompts whose first completion by every model goes to samples.jsonl", ge=0)
    data: DataConfig = setting(DataConfig, "prompts")
    sandbox: SandboxConfig = setting(SandboxConfig, "where programs are run")
    judge: JudgeConfig = setting(JudgeConfig, "who judges where no rule can")
    rollout: RolloutConfig = setting(RolloutConfig, "sampling: temperature 0.6, top-p 0.95 in the paper [V2 D.1]")

    def mistakes(self):
        return [
            f"suites: {name!r} has no settings: the driver puts them into settings.{name}"
            for name in self.suites
            if self.settings and name not in self.settings
        ]
