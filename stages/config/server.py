"""Where the samplers are that are apart from the trainer (rollout=server)."""

from typing import Literal
from urllib.parse import urlsplit

from stages.config.fields import Checked, Float, Int, config_class, setting


@config_class
class ServerConfig(Checked):
    """vLLM servers that draw the rollouts of reinforcement learning (rollout=server)."""

    urls: list[str] = setting(
        [],
        "Addresses of servers that run already, http://HOST:PORT; empty: the stage starts `replicas` of its own.",
        operational=True,
    )
    replicas: Int = setting(
        1, "Servers that the stage starts, and replaces when they die.", unit="servers", gt=0, operational=True
    )
    start: Literal["local", "slurm"] = setting(
        "local",
        "How they are started. local: beside rank 0; slurm: one srun each, inside the allocation of the stage.",
        operational=True,
    )
    srun: list[str] = setting([], "More options of these srun, as --nodelist=NODE (start=slurm).", operational=True)
    tensor_parallel: Int = setting(1, "GPUs, or processes on a CPU, that hold one replica.", unit="GPUs", gt=0)
    gpus: list[Int] = setting(
        [],
        "GPUs of this machine for the replicas, tensor_parallel each, in order (start=local); empty: those after the "
        "ranks' own, or the GPU of rank 0 with transfer=ipc.",
        unit="number of a GPU",
        operational=True,
    )
    transfer: Literal["auto", "nccl", "ipc", "gloo"] = setting(
        "auto",
        "How weights reach the servers. nccl: between GPUs and machines; ipc: on the GPU of rank 0; gloo: CPUs; "
        "auto: nccl where the trainer has a GPU, else gloo.",
        operational=True,
    )
    max_staleness: Int = setting(
        0,
        "Most rollouts by which the weights that drew a token may be behind those that first train on it. 0: "
        "synchronous; from 1 on the next rollout is drawn while this one trains, and what dynamic sampling left is "
        "dropped once it is older [ours].",
        unit="rollouts",
        ge=0,
    )
    start_timeout_s: Float = setting(
        900.0, "Longest that a replica of our own may take to start.", unit="seconds", gt=0, operational=True
    )
    wait_s: Float = setting(
        600.0,
        "Longest that the stage waits, when no server is left, for one of `urls` to come back.",
        unit="seconds",
        gt=0,
        operational=True,
    )
    lost_after_s: Float = setting(
        30.0,
        "Time without an answer after which a server is taken for lost; what it drew is drawn again elsewhere.",
        unit="seconds",
        gt=0,
        operational=True,
    )
    max_restarts: Int = setting(
        3,
        "Replacements of replicas without a rollout in between; the next one ends the stage.",
        unit="replacements",
        ge=0,
        operational=True,
    )

    def mistakes(self) -> list[str]:
        """Addresses can be asked, each once, and GPUs suffice."""
        errors = [
            f"urls: {url!r} is not an address of the form http://HOST:PORT"
            for url in self.urls
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname
        ]
        errors += [
            f"urls: {url} is an address of IPv6, over which weights are not sent: give a name or an IPv4 address"
            for url in self.urls
            if ":" in (urlsplit(url).hostname or "")
        ]
        if len({url.rstrip("/") for url in self.urls}) < len(self.urls):
            errors.append("urls names a server twice: name each once")
        if self.gpus and len(self.gpus) < self.replicas * self.tensor_parallel:
            errors.append(
                f"gpus names {len(self.gpus)} GPUs for {self.replicas} replicas of {self.tensor_parallel}: name "
                f"{self.replicas * self.tensor_parallel}"
            )
        if self.transfer == "ipc" and (self.tensor_parallel > 1 or len(self.urls) > 1 or self.replicas > 1):
            errors.append("transfer=ipc is for one server on the GPU of rank 0: use transfer=nccl for more")
        return errors

    def idle(self) -> dict[str, str]:
        """Servers that run already are not started, and only Slurm has srun."""
        if self.urls:
            names = ("replicas", "start", "srun", "tensor_parallel", "gpus", "start_timeout_s", "max_restarts")
            return dict.fromkeys(names, "urls names servers that run already")
        found = {"wait_s": "urls is empty: replicas are replaced, not waited for"}
        return found | ({"gpus": "start=slurm"} if self.start == "slurm" else {"srun": "start=local"})
