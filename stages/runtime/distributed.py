"""What ranks say to each other besides gradients: barriers, flags and small objects, over gloo whatever the training
backend is.
"""

import datetime
import os


def barrier() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier(group=control_group())


def gather_objects(mine: list) -> list:
    """The lists of all ranks, joined in order of their rank, on every rank."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return list(mine)
    parts: list = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine, group=control_group())
    return [item for part in parts for item in part]


def collective_timeout() -> datetime.timedelta:
    """How long a rank waits for the others before that is an error: launcher.collective_timeout_s, handed over in the
    environment.
    """
    return datetime.timedelta(seconds=float(os.environ.get("STAGE_COLLECTIVE_TIMEOUT_S", 1800)))


_CONTROL_GROUP = None


def control_group():
    """A gloo group for flags and small objects, whatever the training backend is. First call is collective."""
    global _CONTROL_GROUP
    import torch.distributed as dist

    if _CONTROL_GROUP is None:
        _CONTROL_GROUP = (
            dist.group.WORLD
            if dist.get_backend() == "gloo"
            else dist.new_group(backend="gloo", timeout=collective_timeout())
        )
    return _CONTROL_GROUP
