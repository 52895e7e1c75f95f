"""The schemas of evaluation suites: name -> module with `problem_sets`.

A suite is one of these schemas and a file of conf/eval/.
"""

LOADERS: dict[str, str] = {
    "aime": "stages.kinds.evaluation.suites.aime",
    "math500": "stages.kinds.evaluation.suites.math500",
    "gsm8k": "stages.kinds.evaluation.suites.gsm8k",
    "gpqa": "stages.kinds.evaluation.suites.gpqa",
    "mmlu": "stages.kinds.evaluation.suites.mmlu",
    "livecodebench": "stages.kinds.evaluation.suites.livecodebench",
    "codeforces": "stages.kinds.evaluation.suites.codeforces",
    "ifeval": "stages.kinds.evaluation.suites.ifeval",
    "tiny": "stages.kinds.evaluation.suites.tiny",
    "own": "stages.kinds.evaluation.suites.own",
}
