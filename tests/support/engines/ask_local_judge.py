"""Run by torchrun: a local vLLM model as judge, with and without structured output. Writes what it said and what was
counted.

torchrun ... ask_local_judge.py MODEL_DIR WORK_DIR RESULT_JSON
"""

import sys
from pathlib import Path

from stages.runtime import environment

environment.prepare()

from stages.config import JudgeConfig  # noqa: E402
from stages.contract import files  # noqa: E402
from stages.engines.training import init_distributed  # noqa: E402
from stages.judges import make_judge  # noqa: E402
from tests.support.engines.questions import ask  # noqa: E402
from tests.support.stage_dirs import end_process  # noqa: E402

if __name__ == "__main__":
    model, work, result = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    init_distributed()
    outcome = {}
    for name, settings in {"free": {"structured": False}, "structured": {}}.items():
        config = JudgeConfig(
            backend="vllm", model=model, explain=False, max_tokens=24, max_model_tokens=1024, **settings
        )
        judge = make_judge(config, work / "cache")
        judge.check()
        outcome[name] = ask(judge)
        judge.close()
    files.write_json(result, outcome)
    end_process()
