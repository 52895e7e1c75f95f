"""Judges in tests: an endpoint's settings that fail fast, and completions to be judged."""

from stages.judges import Judged
from tests.support.rollouts import a_prompt, answered

FAST = {"retries": 2, "timeout_s": 0.5, "deadline_s": 20.0}
NO_PAUSE = {
    "openai._base_client.INITIAL_RETRY_DELAY": 0.01,
    "openai._base_client.MAX_RETRY_DELAY": 0.02,
    "stages.judges.endpoint.PAUSE_S": 0.01,
}


def items(number: int) -> list[Judged]:
    return [Judged(a_prompt(), answered(str(i))) for i in range(number)]
