"""Whether this machine has the devices that its ranks need: asked by each worker before it loads anything.

The driver asks the same of its own machine (pipeline/planning/devices.py), and cannot see the others.
"""

import os
import socket


def device_problem(num_gpus: int) -> str | None:
    """What is wrong with the GPUs of this machine for its ranks, and what to do; None where they will do.

    Args:
        num_gpus: those that this process may use.
    """
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not num_gpus:
        if os.environ.get("STAGE_DEVICE") != "gpu":
            return None
        return (
            f"launcher.device=gpu, but {socket.gethostname()} has no GPU that torch can use: start it on a machine "
            "with one, or with launcher.device=any"
        )
    if ranks > num_gpus:
        return (
            f"launcher.num_processes={ranks}, but {socket.gethostname()} has {num_gpus} GPU(s), and each rank needs "
            f"one: launcher.num_processes={num_gpus}"
        )
    return None
