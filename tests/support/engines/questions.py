"""The same questions to every judge of the engine tests."""

from stages.judges import Comparison, Judge, Judged
from tests.support.rollouts import a_prompt, answered


def ask(judge: Judge) -> dict:
    """Replies by job, and the ledger's counts."""
    asked = [Judged(a_prompt(), answered(str(number))) for number in range(6)]
    said = {
        "correct": judge.correct(asked),
        "compare": judge.compare([Comparison(a_prompt(), "a", "b"), Comparison(a_prompt(), "b", "a")]),
        "safe": judge.safe(asked[:2]),
        "refine": judge.refine(asked[:1]),
    }
    return {"said": said, "jobs": judge.ledger.table()["jobs"]}
