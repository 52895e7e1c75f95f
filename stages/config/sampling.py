"""Sampling without training: the stages that build data, and evaluation with its suites."""

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

    num_prompts: Int = setting(1000, "Reasoning prompts that are sampled; not published [ours].", unit="prompts", gt=0)
    samples_per_prompt: Int = setting(
        16, "Completions of each of them; not published [ours].", unit="completions", gt=0
    )
    few_shot: Int = setting(
        0, "Kept completions that are put as examples before some of the prompts [V1 2.3.1].", unit="completions", ge=0
    )
    few_shot_share: Float = setting(
        0.5,
        "Share of the prompts that get such examples; the others are prompted directly [ours].",
        unit="share",
        ge=0,
        le=1,
    )
    max_completion_tokens: Int = setting(
        32768, "Longest completion that is sampled; not published [ours].", unit="tokens", gt=0
    )
    keep_per_prompt: Int = setting(
        4, "Most completions that are kept of one prompt, all different [ours].", unit="completions", gt=0
    )
    keep_total: Int = setting(
        0,
        "Most completions that are kept in all: about 600,000 of the rejection data [V2 B.3.3]; 0: all.",
        unit="completions",
        ge=0,
    )
    min_language: Float = setting(
        1.0,
        "Smallest share of the chain of thought's words that are in the prompt's language: mixed languages are left "
        "out [V2 B.3.2].",
        unit="share",
        ge=0,
        le=1,
    )
    max_repetition: Float = setting(
        0.5,
        "Largest share of repeated 4-grams in a kept completion: repetition is left out [V2 B.3.2], from where on is "
        "[ours].",
        unit="share",
        ge=0,
        le=1,
    )
    max_kept_tokens: Int = setting(32768, "Longest completion that is kept [ours].", unit="tokens", gt=0)
    drop_code_blocks: Bool = setting(
        False,
        "Leave completions out whose chain of thought has a block of code, as in the rejection data [V2 B.3.3].",
    )
    max_paragraph: Int = setting(
        0,
        "Longest paragraph of a kept chain of thought; 0: any. The rejection data leaves long ones out [V2 B.3.3]; how "
        "long is not published.",
        unit="words and CJK characters",
        ge=0,
    )
    easy_pass_rate: Float = setting(
        1.0,
        "A prompt is easy if a larger share of its completions is right. Of easy prompts the shortest completions are "
        "kept, so that easy questions get short thoughts [V2 B.3.2], how is [ours]; 1: no prompt is easy.",
        unit="share",
        ge=0,
        le=1,
    )
    human_review: Bool = setting(
        False,
        "Stop when the examples are there, for people to edit them (review/export.jsonl), and go on with what they "
        "made of them (review/reviewed.jsonl) [V2 B.3.2].",
    )
    refine: Literal["none", "rules", "judge"] = setting(
        "none",
        "judge: the judge rewrites the thought readably in one language and writes the summary [V2 B.3.2]; rules: the "
        "refiner of the tiny world; none: completions stay as they were sampled.",
    )
    num_general: Int = setting(
        0,
        "General prompt-completion pairs that are added: 200,000 of 800,000 [V2 B.3.3].",
        unit="pairs",
        ge=0,
    )
    general: Literal["data", "judge"] = setting(
        "data",
        "data: general pairs come from the tiny world, or from the rows of data sources with rows=sft; judge: the "
        "judge answers helpful prompts, with a thought only where the task calls for one [V2 B.3.3].",
    )
    chunk_prompts: Int = setting(
        32,
        "Prompts that are drawn in one call of the sampler. Few-shot examples come from the calls before [ours].",
        unit="prompts",
        gt=0,
    )
    data: DataConfig = setting(DataConfig, "Prompts.")
    sandbox: SandboxConfig = setting(SandboxConfig, "Where programs are run.")
    judge: JudgeConfig = setting(JudgeConfig, "Who judges where no rule can.")
    rollout: RolloutConfig = setting(RolloutConfig, "Sampling: temperature 1.0 [V2 B.3.2].")
    precision: Precision = setting(
        "fp32", "Type of parameters and computations of the sampler: fp32 on a CPU.", added_later=True
    )

    def idle(self) -> dict[str, str]:
        """What belongs to something that is switched off."""
        found = {} if self.few_shot else {"few_shot_share": "few_shot=0"}
        return found if self.num_general else found | {"general": "num_general=0"}


@config_class
class SuiteConfig(Checked):
    """A suite of problems and the paper's protocol for it [V2 D.1].

    conf/eval/ has a file for each suite; eval=[aime24,math500] chooses some.
    """

    loader: Loader = setting("own", "Schema of its rows: a module of stages/kinds/evaluation/suites/.")
    path: str | None = setting(
        None, "Local file in the published schema: JSONL, JSON, CSV or Parquet; null: the hub's."
    )
    hub: str | None = setting(
        None,
        "Data set of the hub, OWNER/NAME. It is read from the cache, or downloaded where HF_HUB_OFFLINE=0 is set.",
    )
    hub_config: str | None = setting(None, "Configuration of that data set.")
    split: str = setting("test", "Split of that data set.")
    revision: str | None = setting(None, "Revision of that data set.")
    num_problems: Int = setting(0, "Only so many problems from the beginning; 0: all.", unit="problems", ge=0)
    samples_per_prompt: Int = setting(
        16,
        "Completions of each problem, k: 64 for AIME and GPQA, 16 for MATH-500 and Codeforces, 8 for LiveCodeBench "
        "[V2 D.1].",
        unit="completions",
        gt=0,
    )
    temperature: Float = setting(0.6, "Sampling temperature [V2 D.1].", unit="none", gt=0, le=5)
    top_p: Float = setting(0.95, "Share of the probability that is sampled from [V2 D.1].", unit="share", gt=0, le=1)
    max_completion_tokens: Int = setting(32768, "Longest completion [V2 D.1].", unit="tokens", gt=0)
    template: Literal["auto", "data", "plain", "r1_zero", "chat"] = setting(
        "auto",
        "How a prompt is put before every model. auto: as the model was trained, where a stage of ours made it; else "
        "chat, where its tokenizer has a template; else data.template. data: the same without the chat. Others: see "
        "data.template.",
    )
    needs_format: Bool = setting(
        False, "Count an answer only in a well-formed <think>..</think><answer>..</answer> [ours]."
    )
    since: str | None = setting(
        None, "First date of the contests, as 2024-08-01: LiveCodeBench from 2024-08 to 2025-01 [V2 D.1]."
    )
    until: str | None = setting(None, "Last date of the contests, as 2025-01-31.")
    standings: str | None = setting(
        None,
        "loader=codeforces: directory with CONTEST.standings.json and CONTEST.ratings.json, for a rating. Its content "
        "is part of the fingerprint.",
        operational=True,
    )

    def mistakes(self) -> list[str]:
        """Dates are dates."""
        return [
            f"{name} must be a date as 2024-08-01, got {value!r}"
            for name, value in (("since", self.since), ("until", self.until))
            if value is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d", value)
        ]

    def idle(self) -> dict[str, str]:
        """Where its problems come from, for the run's own prompts; and what only programs or contests have."""
        of_files = ("path", "hub", "hub_config", "split", "revision", "num_problems")
        found: dict[str, str] = {}
        if self.loader in ("tiny", "own"):
            why = "its problems are the run's own held-out prompts: stages.evaluate.num_reasoning, num_general"
            found |= dict.fromkeys(of_files, why)
        elif self.path:
            found |= dict.fromkeys(("hub", "hub_config", "split", "revision"), f"path={self.path} is read")
        if self.loader != "codeforces":
            found["standings"] = f"loader={self.loader} has no contests"
        if self.loader not in ("livecodebench", "codeforces"):
            found |= dict.fromkeys(("since", "until"), f"loader={self.loader} has no dates")
        return found


@config_class
class EvaluateConfig(Checked):
    """Every model on the same problems [V2 D.1]: pass@1 is the mean over k samples, cons@k the majority vote."""

    models: list[str] = setting([], "Stages whose models are evaluated; empty: all of this recipe.")
    directories: list[str] = setting(
        [],
        "Model directories that are evaluated instead, Hugging Face's or of a stage. Their content is part of the "
        "fingerprint.",
        operational=True,
    )
    suites: list[str] = setting([], "Suites of conf/eval/ [V2 D.1]; empty: the held-out prompts of the run's own data.")
    settings: dict[str, SuiteConfig] = setting(
        {}, "The keys eval.* of these suites by name. The driver puts them here."
    )
    num_reasoning: Int = setting(256, "Held-out reasoning prompts [ours].", unit="prompts", gt=0)
    num_general: Int = setting(192, "Held-out general prompts [ours].", unit="prompts", ge=0)
    num_safety: Int = setting(
        128, "Held-out safety prompts, half of them harmful and half benign [ours].", unit="prompts", ge=0
    )
    samples_per_prompt: Int = setting(
        16,
        "Completions of each of the run's own prompts, k: 64 for AIME and GPQA, 16 for MATH-500 and Codeforces "
        "[V2 D.1].",
        unit="completions",
        gt=0,
    )
    general_samples_per_prompt: Int = setting(
        1, "Completions of each prompt of the general and safety sets [ours].", unit="completions", gt=0
    )
    max_completion_tokens: Int = setting(32768, "Longest completion [V2 D.1].", unit="tokens", gt=0)
    precision: Precision = setting("fp32", "Type of parameters and computations: fp32 on a CPU.")
    num_shown: Int = setting(
        6, "Prompts of each set whose first completion by every model goes to samples.jsonl.", unit="prompts", ge=0
    )
    data: DataConfig = setting(DataConfig, "Prompts.")
    sandbox: SandboxConfig = setting(SandboxConfig, "Where programs are run.")
    judge: JudgeConfig = setting(JudgeConfig, "Who judges where no rule can.")
    rollout: RolloutConfig = setting(RolloutConfig, "Sampling: temperature 0.6 and top-p 0.95 in the paper [V2 D.1].")

    def mistakes(self) -> list[str]:
        """Every suite has its settings."""
        return [
            f"suites: {name!r} has no settings: the driver puts them into settings.{name}"
            for name in self.suites
            if self.settings and name not in self.settings
        ]

    def idle(self) -> dict[str, str]:
        """The numbers of the run's own prompts where suites of other problems are asked for."""
        loaders = {suite.loader for suite in self.settings.values()}
        if not loaders or loaders & {"tiny", "own"}:
            return {}
        names = ("num_reasoning", "num_general", "num_safety", "samples_per_prompt", "general_samples_per_prompt",
                 "max_completion_tokens")  # fmt: skip
        return dict.fromkeys(names, f"the suites {', '.join(self.suites)} have their own: eval.SUITE.KEY")
