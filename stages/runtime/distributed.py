"""What ranks tell each other besides gradients: barriers, flags and small objects.

All of it goes over gloo, whatever the backend of the training is.
"""

import datetime
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def barrier() -> None:
    """Waits until every rank is here. Collective; nothing to wait for in a single process."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier(group=control_group())


def own_place() -> tuple[int, int]:
    """The rank of this process and the number of all; (0, 1) where there is no process group."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gather_objects(mine: list) -> list:
    """Joins the lists of all ranks in the order of the ranks. Collective; every rank gets the whole."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return list(mine)
    parts: list = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine, group=control_group())
    return [item for part in parts for item in part]


def collective_timeout() -> datetime.timedelta:
    """How long a rank waits for the others before that is an error.

    It is launcher.collective_timeout_s, which the driver hands over in the environment.
    """
    return datetime.timedelta(seconds=float(os.environ.get("STAGE_COLLECTIVE_TIMEOUT_S", 1800)))


_CONTROL_GROUP: "ProcessGroup | None" = None


def control_group() -> "ProcessGroup":
    """The group of all ranks over gloo. The first call is collective."""
    global _CONTROL_GROUP
    import torch.distributed as dist

    group = _CONTROL_GROUP
    if group is None:
        is_gloo = dist.get_backend() == "gloo"
        group = dist.group.WORLD if is_gloo else dist.new_group(backend="gloo", timeout=collective_timeout())
        _CONTROL_GROUP = group
    assert group is not None  # torch.distributed is set up
    return group
