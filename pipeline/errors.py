"""What can go wrong for a user, and the exit code of each."""

MessageAndFix = tuple[str, str]  # what is wrong, and what to do about it: often a command

EXIT_CODES = {
    0: "done",
    1: "unexpected error, or `plan` found errors",
    2: "configuration: unknown key, wrong type, value out of range, unknown option",
    3: "an input is missing or cannot be used: upstream stage, model directory, data file, damaged checkpoint, "
    "full disk",
    4: "a stage failed",
    5: "another driver holds the run",
    75: "interrupted; the same command continues",
}


class PipelineError(Exception):
    """An error with a message for people. `fix` says what to do about it, often a command."""

    exit_code = 1

    def __init__(self, message: str, fix: str = ""):
        super().__init__(message)
        self.fix = fix


class InvalidConfig(PipelineError):
    """The configuration has mistakes; `errors` are all of them."""

    exit_code = 2

    def __init__(self, errors: list[str]):
        super().__init__("\n".join(errors))
        self.errors = list(errors)


class MissingInput(PipelineError):
    """Something that a stage needs is missing or cannot be used: another stage, a model, a data file, disk space."""

    exit_code = 3


class StageFailed(PipelineError):
    """The workers of a stage failed."""

    exit_code = 4


class Lost(StageFailed):
    """A machine or a server that the stage needs went away: another attempt may well succeed (`retry.times`)."""


class RunLocked(PipelineError):
    """Another driver holds the run."""

    exit_code = 5


class StageInterrupted(PipelineError):
    """A stage was stopped before its end; the same command continues."""

    exit_code = 75
