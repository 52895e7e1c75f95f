"""Rows from outside, where prompts come from, and `r1 data prepare`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from stages.config.choices import Adapter, Domain, OnMalformed, Template, Verifier
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting
from stages.config.languages import language_problem


@config_class
class SourceConfig(Checked):
    """One set of rows from outside and what its columns mean; a column of a mapping is written with a dot
    (`reward_model.ground_truth`).
    """

    path: str | None = setting(
        None,
        "JSONL, JSON, Parquet, CSV (.gz, .zst) or Arrow file; a directory of such files or one of "
        "datasets.save_to_disk; or a hub "
        "name ORGANISATION/NAME that `r1 data fetch` has brought here",
    )
    files: str | None = setting(
        None, "which files of a directory or hub name, as a pattern, e.g. main/train-*.parquet; null: all data files"
    )
    revision: str | None = setting(None, "commit of a hub name; null: main, whatever it is at the time")
    license: str | None = setting(None, "licence of the set, for the data card", operational=True)
    rows: Literal["prompts", "sft", "preferences", "labels"] = setting(
        "prompts",
        "what a row is: a prompt with an answer; a prompt with a completion; a prompt "
        "with a chosen and a rejected completion; a completion labelled safe or not",
    )
    domain: Domain = setting("reasoning", "domain of the rows: reasoning has answers that a verifier checks")
    adapter: Adapter = setting(
        "none", "for a published set whose columns need more than a name: a function of stages/data/adapters/"
    )
    prompt_column: str = setting("prompt", "column with the problem: text, or a list of chat messages")
    messages_column: str | None = setting(
        None, "column with a chat; its user turn is the prompt and what the assistant says next the completion"
    )
    turn: Literal["last", "first"] = setting(
        "last", "which exchange of a chat; only the first does not refer to others"
    )
    answer_column: str = setting("answer", "column with the reference answer")
    completion_column: str = setting("completion", "column with the completion (rows=sft and rows=labels)")
    chosen_column: str = setting(
        "chosen", "column with the better completion: text, or a chat whose last message it is (rows=preferences)"
    )
    rejected_column: str = setting("rejected", "column with the worse completion (rows=preferences)")
    label_column: str = setting("is_safe", "column that is true where the completion is safe (rows=labels)")
    verifier_column: str | None = setting(None, "column with the verifier of each row; where it is empty, `verifier`")
    checks_column: str | None = setting(
        None,
        "column with what the verifier needs besides the answer: JSON, or a mapping or list; "
        "with it the answer may be empty",
    )
    language_column: str | None = setting(None, "column with the language of each row; where it is empty, `language`")
    domain_column: str | None = setting(None, "column with the domain of each row; where it is empty, `domain`")
    kind_column: str | None = setting(None, "column with the kind of each row, for samples and tables")
    id_column: str | None = setting(None, "column with a unique id of each row; null: its number")
    language: str = setting("auto", "language of the prompts, an ISO 639-1 code; auto: identified for each prompt")
    verifier: Verifier = setting("integer", "how an answer is compared: the verifiers of stages/rewards/grading.py")
    check_answers: Bool = setting(
        True,
        "ask the verifier of each row whether it can read the answer, before any engine starts; off for files that "
        "`r1 data prepare` wrote, which has asked",
    )

    def mistakes(self) -> list[str]:
        why = None if self.language == "auto" else language_problem(self.language)
        return [f"language {why}, or auto"] if why else []


@config_class
class MixtureSource(SourceConfig):
    """One of several sources."""

    weight: Float = setting(1.0, "share of the draws of a domain, relative to the other sources that have it", gt=0)
    preset: str | None = setting(None, "a file of conf/data/ that the other keys add to, e.g. gsm8k", operational=True)
    verifier: Verifier = setting("math", "how an answer is compared: the verifiers of stages/rewards/grading.py")


@config_class
class DataConfig(SourceConfig):
    """Where prompts come from. `tiny_world` and `reasoning_gym` are generated; `file` reads rows from outside: one
    source, or a mixture of `sources`.
    """

    name: Literal["tiny_world", "reasoning_gym", "file"] = setting(
        "tiny_world", "where prompts come from; file is implied by data.path"
    )
    sources: dict[str, MixtureSource] = setting(
        {}, "a mixture instead of `path`: name -> source, e.g. data.sources.math.path=FILE"
    )
    malformed: OnMalformed = setting(
        "fail",
        "rows that cannot be used: fail, with the first of them; or skip, with their number and reasons in the log",
    )
    template: Template = setting(
        "plain", "plain: 'User:...Assistant:'; r1_zero: the paper's text [V1 Table 1]; chat: the tokenizer's"
    )
    eval_fraction: Float = setting(
        0.1,
        "share of the rows or problems held out for evaluation (by a hash of the prompt, never trained on)",
        ge=0,
        lt=1,
    )
    max_prompt_tokens: Int = setting(128, "longest prompt, tokens; a longer one is an error that names the row", gt=0)
    tasks: list[str] = setting([], "name=reasoning_gym: problem families of that library, e.g. [countdown,chain_sum]")
    task_weights: list[Annotated[Float, Field(ge=0)]] = setting(
        [], "name=reasoning_gym: their shares of the prompts, in the same order; empty: equal"
    )
    task_configs: dict[str, dict[str, Any]] = setting(
        {}, "name=reasoning_gym: settings of a family, e.g. {countdown: {max_numbers: 4}}"
    )

    def mistakes(self):
        if self.name == "reasoning_gym":  # whether the library has these families is checked where it may be imported
            return []
        if self.path and self.sources:
            return super().mistakes() + [
                f"path {self.path} and sources ({', '.join(self.sources)}) are both set: "
                "a mixture names its files in its sources"
            ]
        return super().mistakes() + [
            f"sources.{name}.path is empty: name a file, a directory or a hub name"
            for name, source in self.sources.items()
            if not source.path
        ]

    @property
    def all_sources(self) -> dict[str, SourceConfig]:
        """Name -> source: the mixture's, or `path` as the only one, named `file`."""
        return dict(self.sources) or ({"file": self} if self.path else {})

    @property
    def domains(self) -> set[str]:
        """The domains that rows can have; all three where a column says."""
        return {
            domain
            for source in self.all_sources.values()
            for domain in (("reasoning", "helpful", "safety") if source.domain_column else (source.domain,))
        }

    @property
    def has_general_prompts(self) -> bool:
        """Whether there can be helpful or safety prompts besides those with a right answer."""
        return self.name == "tiny_world" or bool(self.domains & {"helpful", "safety"})

    def has(self, rows: str) -> bool:
        """Whether some source has rows of this type."""
        return any(source.rows == rows for source in self.all_sources.values())


@config_class
class TracesConfig(SourceConfig):
    """Your own prompts and completions to fine-tune on, in the place of the data that the recipe makes."""

    rows: Literal["sft"] = setting(
        "sft", "a prompt with a completion, thinking tags and all, or a chat of both (messages_column)"
    )
    malformed: OnMalformed = setting(
        "fail",
        "rows that cannot be used: fail, with the first of them; or skip, with their number and reasons in the log",
    )

    @property
    def sources(self) -> dict[str, SourceConfig]:
        return {}

    @property
    def all_sources(self) -> dict[str, SourceConfig]:
        return {"file": self} if self.path else {}


@config_class
class PrepareConfig(Checked):
    """`r1 data prepare`: which rows of `data` are dropped, in this order, and where the others go."""

    output: str = setting("prepared", "directory that is written: train.parquet, card.md, card.json")
    min_prompt: Int = setting(1, "shortest prompt kept, tokens of the model at model.path, else words", ge=0)
    max_prompt: Int = setting(0, "longest prompt kept, in the same unit; 0 = any", ge=0)
    max_completion: Int = setting(0, "longest completion kept, in the same unit; 0 = any", ge=0)
    languages: list[str] = setting([], "languages kept, e.g. [en,zh]; empty: all")
    against: dict[str, MixtureSource] = setting(
        {},
        "evaluation sets that prompts must not share words with: name -> source, e.g. "
        "prepare.against.gpqa.preset=gpqa_diamond",
    )
    ngram: Int = setting(10, "words in a row that a prompt may not share with them [V2 D.1]", gt=0)
    exact_duplicates: Bool = setting(True, "drop rows whose text was there before, apart from case and white space")
    near_duplicates: Float = setting(
        0.8,
        "drop rows whose 5-grams are so much those of an earlier row (estimated Jaccard similarity); 0 = keep [ours]",
        ge=0,
        le=1,
    )
    check_answers: Bool = setting(True, "drop rows whose answer their verifier cannot read")
    samples: Int = setting(
        0,
        "completions of each prompt by the model at model.path, to measure its pass rate; 0 = no such filter",
        ge=0,
        le=4096,
    )
    min_pass_rate: Float = setting(0.1, "least pass rate kept: what is never solved teaches nothing [ours]", ge=0, le=1)
    max_pass_rate: Float = setting(0.9, "largest pass rate kept [ours]", ge=0, le=1)
    max_completion_tokens: Int = setting(2048, "most tokens of those completions", gt=0)
    processes: Int = setting(0, "processes that read and filter; 0 = one a core", ge=0, operational=True)
    shown: Int = setting(3, "dropped rows of each filter shown in the data card", ge=0)

    def mistakes(self):
        errors = [
            f"against.{name}.path is empty: name a file, a directory or a hub name"
            for name, source in self.against.items()
            if not source.path
        ]
        if self.min_pass_rate > self.max_pass_rate:
            errors.append(
                f"min_pass_rate {self.min_pass_rate} is more than max_pass_rate {self.max_pass_rate}: "
                "nothing would be kept"
            )
        if self.max_prompt and self.min_prompt > self.max_prompt:
            errors.append(
                f"min_prompt {self.min_prompt} is more than max_prompt {self.max_prompt}: nothing would be kept"
            )
        return errors
