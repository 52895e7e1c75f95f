"""A small file for each evaluation suite, in its published schema with content of our own."""

from tests.support.paths import FIXTURES

SCHEMAS = FIXTURES / "eval_schemas"
FILES = {
    "aime24": "aime24.jsonl",
    "aime25": "aime25.jsonl",
    "math500": "math500.jsonl",
    "gpqa": "gpqa.csv",
    "mmlu": "mmlu.jsonl",
    "mmlu_pro": "mmlu_pro.jsonl",
    "gsm8k": "gsm8k.jsonl",
    "livecodebench": "livecodebench.jsonl",
    "codeforces": "codeforces.jsonl",
    "ifeval": "ifeval.jsonl",
}
