"""The command `rollouts`: what the policy wrote and what it earned, from the log that training replays."""

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from pipeline.commands.chosen_models import no_such_stage
from pipeline.commands.data_process import relay
from pipeline.commands.declaration import ARGUMENTS, Overrides, declare, exit_codes, flag, option
from pipeline.commands.run_directory import find_run
from pipeline.configuration.graph import is_stage
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.planning.command_line import run_words
from stages.contract import rollout_files

app = declare(
    "rollouts",
    "[--step N] [-n N] [--order ORDER] [--use USE] [--prompt ID] [--tokens] [--json] STAGE [run=NAME] "
    "[runs_dir=DIRECTORY]",
    {
        "r1 rollouts r1_zero": "the first four of the newest that are kept",
        "r1 rollouts r1_zero --step 12 -n 8 --order worst": "those of step 12 with the least reward",
        "r1 rollouts r1_zero -n 0 --json > rollouts.jsonl": "all of them, a line of JSON each",
    },
    exit_codes(0, 2, 3),
    more="Only the rollouts are kept that the kept checkpoints can ask for. N of `--step` is the number of steps done "
    "before they were sampled.",
)


@app.default
def rollouts(
    stage: Annotated[str, Parameter(name="STAGE", group=ARGUMENTS)],
    *overrides: Overrides,
    step: Annotated[int | None, option("--step", value="N")] = None,
    number: Annotated[int, option("--number", "-n", value="N")] = 4,
    order: Annotated[Literal["log", "best", "worst", "longest", "shortest"], option("--order", value="ORDER")] = "log",
    use: Annotated[Literal["", "train", "keep", "drop"], option("--use", value="USE")] = "",
    prompt: Annotated[str, option("--prompt", value="ID")] = "",
    with_tokens: Annotated[bool, flag("--tokens")] = False,
    as_json: Annotated[bool, flag("--json")] = False,
) -> int:
    """Show rollouts of a reinforcement-learning stage: prompts, completions, rewards and their parts.

    Args:
        stage: The stage.
        overrides: `run=NAME` and `runs_dir=DIRECTORY`; by default the run that was worked on last.
        step: Those that were sampled after so many steps; by default the newest.
        number: How many; 0 for all.
        order: `log`, as they were sampled; `best` or `worst` reward, `longest` or `shortest` completion first.
        use: Only those that were trained on (`train`), or with dynamic sampling left for the next rollout (`keep`) or
            sampled in vain (`drop`).
        prompt: Only completions of the prompt with this id.
        with_tokens: Also print token ids and logprobs.
        as_json: Print one line of JSON for each.
    """
    if not is_stage(stage):
        raise InvalidConfig([no_such_stage(stage)])
    if number < 0:
        raise InvalidConfig([f"--number {number}: it is 0, for all, or more"])
    run_dir = find_run(overrides, "rollouts")
    directory = run_dir / stage / "latest"
    if not rollout_files.logged_steps(directory / "rollouts"):
        logs = sorted(run_dir.glob("*/latest/rollouts"))
        logged = [path.parent.parent.name for path in logs if rollout_files.logged_steps(path)]
        raise MissingInput(
            f"{stage} of the run {run_dir.name} has no rollouts; there are those of: {', '.join(logged) or 'no stage'}",
            f"python -m pipeline status {run_words(run_dir)}",
        )
    options = ["--number", str(number), "--order", order, "--use", use, "--prompt", prompt]
    options += [] if step is None else ["--step", str(step)]
    options += ["--tokens"] * with_tokens + ["--json"] * as_json
    return relay([sys.executable, "-m", "stages.logged_rollouts", str(directory), *options], "interrupted")
