"""What ends a stage: bad input, a wait for another rank that was too long, a stop that was asked for."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager


class HasFix:
    """An exception that knows what can be done about it."""

    fix: str


class Passing:
    """An exception whose cause may go away by itself, so that the same stage may well go on a while later.

    It is for what is outside of the stage: a server, a network, another machine. The driver may then try the stage
    again (`retry.times`).
    """


class InputError(ValueError):
    """The user's data, model or configuration cannot be used; the message says what, where and how to fix it."""


class CollectiveTimeout(Passing, RuntimeError):
    """A rank waited longer for the others than launcher.collective_timeout_s.

    The message says where it waited, and what the others were doing.
    """


class Interrupted(Exception):
    """A stop was asked for; the state is on disk and the same command continues from it."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Turns a ValueError of the block into an InputError: what is wrong with the user's data is no failure of ours."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error


@contextmanager
def environment_errors() -> Iterator[None]:
    """Turns a ValueError of the block that names a variable of the environment into an InputError.

    Libraries read variables as they are imported, and say in the message which value they do not accept.
    """
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        words = set(re.findall(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+", str(error)))
        named = sorted(word for word in words & os.environ.keys() if not word.startswith("HF_"))  # those are advice
        if not named:
            raise
        message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise InputError(
            f"a library does not accept {named[0]} of the environment ({message}): mend or unset it"
        ) from error
