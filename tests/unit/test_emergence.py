"""Words of reflection, difficulty and first appearances, on completions written by hand."""

from stages.contract.files import cut_jsonl, read_jsonl
from stages.kinds.grpo.emergence import FirstWords, level_metrics, word_metrics
from stages.prompting.prompt import Prompt
from stages.runtime.step_logs import LOGS
from stages.text.reflection import ENGLISH, count_reflections, count_words
from stages.training.rollouts import Rollout, Row, level_of


def rollout(completion: str, text: str = "what is31-3-7?", tokens: int = 10, accuracy: float = 1.0, **prompt) -> Row:
    described = {
        "id": "math-train-1",
        "text": text,
        "kind": "math",
        "domain": "reasoning",
        "language": "en",
        "answer": "21",
    } | prompt
    return Row.of(
        Rollout(Prompt(**described), 0, [], [0] * tokens, [], False, completion, reward_parts={"accuracy": accuracy})
    )


def test_each_of_the_ten_words_is_counted_in_both_languages():
    assert (
        count_words("Wait, but waitcheck 等等 buttons") == {"wait": 3, "but": 1, "check": 1}
        and count_reflections("Wait, but waitcheck 等等") == 5
    )
    metrics = word_metrics(
        [rollout("wait,check", tokens=30), rollout("wait", tokens=10), rollout("wait wait", domain="helpful")]
    )
    assert (
        set(metrics) == {f"words/{word}" for word in ENGLISH} | {"completion/reflection_rate", "completion/reflections"}
        and len(ENGLISH) == 10
    )
    assert (
        metrics["words/wait"] == 1000 * 2 / 40 and metrics["words/check"] == 25 and metrics["words/retry"] == 0
    )  # general completions count nothing
    assert metrics["completion/reflections"] == 1.5 and metrics["completion/reflection_rate"] == 1.0
    assert word_metrics([rollout("wait"), rollout("28")])["completion/reflection_rate"] == 0.5
    assert word_metrics([rollout("wait", domain="helpful")]) == {}


def test_difficulty_is_the_number_of_operations_or_what_a_column_says():
    assert (
        level_of(rollout("").here.prompt) == "2" and level_of(rollout("", text="求31-3*7+2等于几?").here.prompt) == "3"
    )
    assert (
        level_of(rollout("", id="file-1", kind="Level 5").here.prompt) == "Level 5"
        and level_of(rollout("", id="file-1", kind="file").here.prompt) == ""
    )
    assert level_of(rollout("", domain="helpful").here.prompt) == ""


def test_accuracy_and_tokens_by_difficulty():
    metrics = level_metrics(
        [
            rollout("", tokens=10, accuracy=1),
            rollout("", tokens=20, accuracy=0),
            rollout("", text="what is3+4?", tokens=4),
        ]
    )
    assert metrics == {
        "level/1/accuracy": 1.0,
        "level/1/tokens": 4.0,
        "level/1/samples": 1,
        "level/2/accuracy": 0.5,
        "level/2/tokens": 15.0,
        "level/2/samples": 2,
    }
    assert level_metrics([rollout("", id="x", kind=str(kind)) for kind in range(13)]) == {}  # too many to be a scale


def test_first_appearances_with_the_text_around_them_and_their_resume(tmp_path):
    first = FirstWords(tmp_path)
    first.look(3, [rollout("a" * 200 + " Wait,31-3" + "b" * 200), rollout("wait again")])
    first.look(4, [rollout("等等"), rollout("check", accuracy=0), rollout("retry", domain="helpful")])
    rows = read_jsonl(tmp_path / "first_words.jsonl")
    assert [(row["step"], row["word"], row["found"], row["correct"]) for row in rows] == [
        (3, "wait", "Wait", True),
        (4, "check", "check", False),
    ]
    assert (
        rows[0]["before"] == "a" * 159 + " " and rows[0]["after"].startswith(",31-3bb") and len(rows[0]["after"]) == 160
    )
    assert "first_words.jsonl" in LOGS  # a resume cuts it back to its checkpoint ...
    cut_jsonl(tmp_path / "first_words.jsonl", 3)
    FirstWords(tmp_path).look(
        4, [rollout("wait"), rollout("check", accuracy=0)]
    )  # ... and the same words are found again
    assert read_jsonl(tmp_path / "first_words.jsonl") == rows
