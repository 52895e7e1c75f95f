"""What ends a stage: bad input, a wait for another rank that was too long, a stop that was asked for."""

from contextlib import contextmanager


class InputError(ValueError):
    """The user's data, model or configuration cannot be used; the message says what, where and how to fix it."""


class CollectiveTimeout(RuntimeError):
    """A rank waited longer for the others than launcher.collective_timeout_s; the message says where, and what the
    others were at.
    """


class Interrupted(Exception):
    """A stop was asked for; the state is on disk and the same command continues from it."""


@contextmanager
def user_errors():
    """What is wrong with the user's data is bad input, not a failure of ours."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
