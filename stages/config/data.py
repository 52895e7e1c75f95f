"""Rows from outside, where prompts come from, and `r1 data prepare`."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from stages.config.choices import Adapter, Domain, OnMalformed, Precision, Template, Verifier
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting
from stages.config.languages import language_problem

ON_MALFORMED = (
    "What happens to rows that cannot be used. fail: the stage ends and shows the first of them; skip: they are left "
    "out, and the log has their number and the reasons."
)
TEMPLATE = (
    "How a prompt is put before the model. plain: 'User:...Assistant:'; r1_zero: the paper's text [V1 Table 1]; chat: "
    "the tokenizer's own template; FILE.jinja: a chat template of your own. The resolved configuration has its text."
)
SYSTEM = (
    "What the model is told before every chat, unless the chat says it itself; empty: nothing but what the template "
    "says. A model whose template knows no system messages reads it at the beginning of the user's words."
)
EXAMPLES = (
    "Worked examples before every prompt, as earlier turns of the chat: a file with rows of a prompt and a completion, "
    "or of a chat (messages). The resolved configuration has them as JSON. They count in max_prompt_tokens."
)
VERIFIER = "How an answer is compared with the reference: a verifier of stages/rewards/verifiers/."


def prompting_mistakes(template: str, examples: str | None) -> list[str]:
    """What is wrong with a template and with worked examples, once the driver has read their files."""
    errors = []
    names = get_args(Template)
    if template not in names and "{{" not in template and "{%" not in template:
        errors.append(f"template {template!r} is not one of {', '.join(names)}, nor a file FILE.jinja")
    if examples and not examples.startswith("["):
        errors.append(f"examples {examples!r} is not a file of worked examples")
    return errors


# What of a source is about graded prompts only, and all that is about the rows of a source.
OF_PROMPTS = ("answer_column", "verifier_column", "checks_column", "verifier", "check_answers")
OF_SOURCES = (
    *("files", "revision", "license", "rows", "domain", "adapter", "prompt_column", "messages_column", "turn"),
    *("completion_column", "chosen_column", "rejected_column", "label_column", "language_column", "domain_column"),
    *("kind_column", "id_column", "language", *OF_PROMPTS),
)


@config_class
class SourceConfig(Checked):
    """One set of rows from outside, and what its columns mean.

    A column within a mapping is written with a dot: `reward_model.ground_truth`.
    """

    path: str | None = setting(
        None,
        "Where the rows are: a JSONL, JSON, Parquet, CSV (.gz, .zst) or Arrow file; a directory of such files, or one "
        "that datasets.save_to_disk wrote; or a hub name ORGANISATION/NAME that `r1 data fetch` has brought here.",
    )
    files: str | None = setting(
        None,
        "Pattern of the files of a directory or a hub name that are read, e.g. main/train-*.parquet; null: those of "
        "the split train where splits are named, else all.",
    )
    revision: str | None = setting(None, "Commit of a hub name; null: whatever its main branch is at the time.")
    license: str | None = setting(None, "Licence of the set, for the data card.", operational=True)
    rows: Literal["prompts", "sft", "preferences", "labels"] = setting(
        "prompts",
        "What a row is. prompts: a prompt with an answer; sft: a prompt with a completion; preferences: a prompt with "
        "a chosen and a rejected completion; labels: a completion that is labelled safe or not.",
    )
    domain: Domain = setting(
        "reasoning", "What the rows are about. Rows of the domain reasoning have answers that a verifier checks."
    )
    adapter: Adapter = setting(
        "none",
        "For a published set whose columns need more than a name: a function of stages/data/adapters/ that turns its "
        "rows into ours.",
    )
    prompt_column: str = setting("prompt", "Column with the problem: text, or a list of chat messages.")
    messages_column: str | None = setting(
        None, "Column with a chat: its user turn is the prompt, and what the assistant says next is the completion."
    )
    turn: Literal["last", "first"] = setting(
        "last", "Which exchange of a chat is taken. Only the first one does not refer to exchanges before it."
    )
    answer_column: str = setting("answer", "Column with the reference answer.")
    completion_column: str = setting("completion", "Column with the completion (rows=sft and rows=labels).")
    chosen_column: str = setting(
        "chosen", "Column with the better completion: text, or a chat that ends with it (rows=preferences)."
    )
    rejected_column: str = setting("rejected", "Column with the worse completion (rows=preferences).")
    label_column: str = setting("is_safe", "Column that is true where the completion is safe (rows=labels).")
    verifier_column: str | None = setting(
        None, "Column with the verifier of each row. Where it is empty, `verifier` holds."
    )
    checks_column: str | None = setting(
        None,
        "Column with what the verifier needs besides the answer: JSON, a mapping or a list. With it the answer may be "
        "empty.",
    )
    language_column: str | None = setting(
        None, "Column with the language of each row. Where it is empty, `language` holds."
    )
    domain_column: str | None = setting(None, "Column with the domain of each row. Where it is empty, `domain` holds.")
    kind_column: str | None = setting(None, "Column with the kind of each row, shown beside samples and in tables.")
    id_column: str | None = setting(None, "Column with a unique id of each row; null: the number of the row.")
    language: str = setting(
        "auto", "Language of the prompts, an ISO 639-1 code; auto: it is identified for each prompt."
    )
    verifier: Verifier = setting("integer", VERIFIER)
    check_answers: Bool = setting(
        True,
        "Whether the verifier of each row is asked if it can read the answer, before any engine starts. Off for files "
        "that `r1 data prepare` wrote, because it has asked.",
    )

    def mistakes(self) -> list[str]:
        """The language must be one that there is."""
        why = None if self.language == "auto" else language_problem(self.language)
        return [f"language {why}, or auto"] if why else []

    def idle(self) -> dict[str, str]:
        """Columns and graders of other types of rows, and everything where there is no path."""
        if not self.path:
            return dict.fromkeys(OF_SOURCES, "path is empty")
        used = {
            "prompts": (*OF_PROMPTS, "prompt_column"),
            "sft": ("completion_column", "prompt_column"),
            "preferences": ("chosen_column", "rejected_column", "prompt_column"),
            "labels": ("completion_column", "label_column", "prompt_column"),
        }
        columns = {name for names in used.values() for name in names}
        found = dict.fromkeys(sorted(columns - set(used[self.rows])), f"rows={self.rows}")
        if self.messages_column:
            found["prompt_column"] = f"messages_column={self.messages_column}"
        return found


@config_class
class MixtureSource(SourceConfig):
    """One of several sources of rows."""

    weight: Float = setting(
        1.0,
        "Share of the draws of a domain, relative to the other sources that have this domain [ours].",
        unit="weight",
        gt=0,
    )
    preset: str | None = setting(
        None,
        "Name of a file of conf/data/, e.g. gsm8k, whose keys hold where this source does not set them.",
        operational=True,
    )
    verifier: Verifier = setting("math", VERIFIER)


@config_class
class DataConfig(SourceConfig):
    """Where prompts come from.

    The prompts of `tiny_world` and `reasoning_gym` are generated. `file` reads rows from outside: one source, or a
    mixture of `sources`.
    """

    name: Literal["tiny_world", "reasoning_gym", "file"] = setting(
        "tiny_world", "Where prompts come from. Setting data.path implies file."
    )
    sources: dict[str, MixtureSource] = setting(
        {}, "A mixture in the place of `path`: sources by name, e.g. data.sources.math.path=FILE."
    )
    malformed: OnMalformed = setting("fail", ON_MALFORMED)
    template: str = setting("plain", TEMPLATE)
    system: str = setting("", SYSTEM)
    examples: str | None = setting(None, EXAMPLES)
    eval_fraction: Float = setting(
        0.1,
        "Share of the rows or problems that is held out for evaluation and never trained on; a hash of the prompt "
        "decides [ours].",
        unit="share",
        ge=0,
        lt=1,
    )
    max_prompt_tokens: Int = setting(
        128, "Longest prompt. A longer one is an error that names the row [ours].", unit="tokens", gt=0
    )
    tasks: list[str] = setting([], "name=reasoning_gym: problem families of that library, e.g. [countdown,chain_sum].")
    task_weights: list[Annotated[Float, Field(ge=0)]] = setting(
        [],
        "name=reasoning_gym: shares of the families, in the order of `tasks`; empty: all the same [ours].",
        unit="weight",
    )
    task_configs: dict[str, dict[str, Any]] = setting(
        {}, "name=reasoning_gym: settings of families by name, e.g. {countdown: {max_numbers: 4}}."
    )
    general: Literal["none", "english"] = setting(
        "none",
        "General and safety prompts that are added to the data's own. english: those of the English world, with "
        "answers to fine-tune on; judge=english judges them (docs/english_world.md).",
        added_later=True,
    )

    def mistakes(self) -> list[str]:
        """One source or a mixture, and every source of a mixture has a path."""
        prompting = [*prompting_mistakes(self.template, self.examples), *self._general_mistakes()]
        if self.name == "reasoning_gym":  # whether the library has these families is checked where it may be imported
            return prompting
        if self.path and self.sources:
            names = ", ".join(self.sources)
            return [
                *prompting,
                *super().mistakes(),
                f"path {self.path} and sources ({names}) are both set: a mixture names its files in its sources",
            ]
        return [
            *prompting,
            *super().mistakes(),
            *(
                f"sources.{name}.path is empty: name a file, a directory or a hub name"
                for name, source in self.sources.items()
                if not source.path
            ),
        ]

    def idle(self) -> dict[str, str]:
        """What is about files where prompts are generated, about tasks where they are not, and beside a mixture."""
        of_tasks = ("tasks", "task_weights", "task_configs")
        found = {} if self.name == "reasoning_gym" else dict.fromkeys(of_tasks, f"name={self.name}")
        if self.name != "file":
            of_files = (*OF_SOURCES, "malformed", *(("eval_fraction",) if self.name == "tiny_world" else ()))
            return found | dict.fromkeys(of_files, f"name={self.name} generates its prompts")
        if self.sources:
            why = f"each source of the mixture has its own: sources.{next(iter(self.sources))}.KEY"
            return found | dict.fromkeys(OF_SOURCES, why)
        return found | super().idle()

    @property
    def all_sources(self) -> dict[str, SourceConfig]:
        """The sources by name: those of the mixture, or `path` as the only one, named `file`."""
        return dict(self.sources) or ({"file": self} if self.path else {})

    @property
    def domains(self) -> set[str]:
        """The domains that rows can have: all of them where a column says which."""
        found: set[str] = set()
        for source in self.all_sources.values():
            found |= set(get_args(Domain)) if source.domain_column else {source.domain}
        return found if self.general == "none" else found | set(get_args(Domain))

    def _general_mistakes(self) -> list[str]:
        """General prompts are added only to data that has none of its own."""
        if self.general == "none":
            return []
        if self.name == "tiny_world" and not self.all_sources:
            return [f"general={self.general}: the tiny world has general prompts of its own; choose other data"]
        own = sorted(
            name
            for name, source in self.all_sources.items()
            if source.domain_column or source.domain != "reasoning" or source.rows in ("preferences", "labels")
        )
        if own:
            return [
                f"general={self.general} adds general prompts, but {', '.join(own)} may have such rows already: "
                "set general=none, or leave out that source"
            ]
        return []

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
        "sft", "What a row is: a prompt with a completion, thinking tags and all, or a chat of both (messages_column)."
    )
    malformed: OnMalformed = setting("fail", ON_MALFORMED)

    def idle(self) -> dict[str, str]:
        """Everything, where the data comes from the recipe."""
        found = super().idle()
        return found if self.path else {**found, "malformed": "path is empty"}

    @property
    def sources(self) -> dict[str, SourceConfig]:
        """Nothing: traces come from one source, not from a mixture."""
        return {}

    @property
    def all_sources(self) -> dict[str, SourceConfig]:
        """The one source, named `file`, where it has a path."""
        return {"file": self} if self.path else {}


@config_class
class PrepareConfig(Checked):
    """`r1 data prepare`: which rows of `data` are dropped, in this order, and where the others go."""

    output: str = setting("prepared", "Directory that is written: train.parquet, card.md and card.json.")
    min_prompt: Int = setting(
        1, "Shortest prompt that is kept [ours].", unit="tokens of the model at model.path, else words", ge=0
    )
    max_prompt: Int = setting(
        0,
        "Longest prompt that is kept; 0: any [ours].",
        unit="tokens of the model at model.path, else words",
        ge=0,
    )
    max_completion: Int = setting(
        0,
        "Longest completion that is kept; 0: any [ours].",
        unit="tokens of the model at model.path, else words",
        ge=0,
    )
    languages: list[str] = setting([], "Languages that are kept, e.g. [en,zh]; empty: all.")
    against: dict[str, MixtureSource] = setting(
        {},
        "Evaluation sets that prompts must not share word sequences with: sources by name, e.g. "
        "prepare.against.gpqa.preset=gpqa_diamond [V2 D.1].",
    )
    ngram: Int = setting(
        10, "Length of the word sequences that a prompt may not share with those sets [V2 D.1].", unit="words", gt=0
    )
    exact_duplicates: Bool = setting(
        True, "Drop rows whose text is an earlier row's, in the normal form of texts [ours]."
    )
    near_duplicates: Float = setting(
        0.8,
        "Drop rows whose 5-grams have at least this estimated Jaccard similarity to those of an earlier row; 0: keep "
        "them [ours].",
        unit="share",
        ge=0,
        le=1,
    )
    check_answers: Bool = setting(True, "Drop rows whose answer their verifier cannot read [ours].")
    samples: Int = setting(
        0,
        "Completions of each prompt by the model at model.path, to measure its pass rate; 0: no such filter [ours].",
        unit="completions",
        ge=0,
        le=4096,
    )
    min_pass_rate: Float = setting(
        0.1, "Smallest pass rate that is kept: what is never solved teaches nothing [ours].", unit="share", ge=0, le=1
    )
    max_pass_rate: Float = setting(
        0.9,
        "Largest pass rate that is kept: what is always solved teaches nothing either [ours].",
        unit="share",
        ge=0,
        le=1,
    )
    max_completion_tokens: Int = setting(2048, "Longest of those completions [ours].", unit="tokens", gt=0)
    precision: Precision = setting("fp32", "Type of parameters and computations of the model that draws them.")
    processes: Int = setting(
        0, "Processes that read and filter; 0: one for each core.", unit="processes", ge=0, operational=True
    )
    shown: Int = setting(3, "Dropped rows of each filter that the data card shows.", unit="rows", ge=0)

    def mistakes(self) -> list[str]:
        """Every evaluation set has a path, and no range is empty."""
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
