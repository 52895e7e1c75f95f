"""Checks for the tests of the worker pool: what a hostile expression may do to a process."""

import os
import time

started = time.time()


def add(a, b):
    return a + b


def pid():
    return os.getpid()


def server_started():
    """When the server imported this module: the same for all of its workers."""
    return started


def hang_in_c():
    return 9 ** (9**9) % 7  # one bytecode: Python cannot be interrupted in it


def sleep(seconds):
    time.sleep(seconds)


def eat_memory():
    return len([bytearray(2**20) for _ in range(100_000)])


def crash():
    os._exit(3)


def fail(text):
    raise ValueError(text)


def variable(name):
    return os.environ.get(name)
