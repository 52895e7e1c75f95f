"""The suites' schemas: name -> module with `problem_sets`; a suite is one of them and a file of conf/eval/. Imports nothing: `stages/config/` reads it."""

LOADERS: dict[str, str] = {
    "aime": "stages.evaluation.suites.aime",
    "math500": "stages.evaluation.suites.math500",
    "gsm8k": "stages.evaluation.suites.gsm8k",
    "gpqa": "stages.evaluation.suites.gpqa",
    "mmlu": "stages.evaluation.suites.mmlu",
    "livecodebench": "stages.evaluation.suites.livecodebench",
    "codeforces": "stages.evaluation.suites.codeforces",
    "ifeval": "stages.evaluation.suites.ifeval",
    "tiny": "stages.evaluation.suites.tiny",
    "own": "stages.evaluation.suites.own",
}
