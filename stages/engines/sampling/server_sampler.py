"""The sampler of rollout=server: vLLM servers apart from the trainer, which get its weights and draw its completions.

Rank 0 keeps the servers and sends the weights; every rank asks them for the prompts that it was dealt. `begin` starts
to draw and returns, so that a trainer can go on meanwhile; `finish` waits.
"""

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.config import RolloutConfig
from stages.contract.served_model import Wanted, installed_vllm, shape_digest, vocabulary_digest
from stages.engines.sampling import Apart, Completion, OnGroup
from stages.engines.sampling.servers.client import Client
from stages.engines.sampling.servers.group import ASK_S, Policy, ServerGroup, ServersLost
from stages.engines.sampling.servers.pull import Batch, Puller, Pulling, Source
from stages.engines.weights import Weights
from stages.runtime.distributed import gather_objects, own_place

TRANSFERS = 3  # tries of one sync, each with the servers that are left
PAUSE_S = 1.0  # before the second try, and twice that before the third: what broke off may be there again


@dataclass
class Drawing:
    """Completions that are being drawn."""

    batch: Batch
    pulling: Pulling

    def cancel(self) -> None:
        """Gives it up; servers end what they draw of it."""
        self.pulling.cancel()


class ServerSampler:
    """See `stages.engines.sampling.Sampler`.

    Args:
        config: `rollout` of the stage.
        model_dir: The policy's; servers of our own load its shape from it.
        max_prompt_tokens: Most tokens of a prompt.
        max_completion_tokens: Most tokens of a completion.
        precision: fp32 or bf16.
        apart: What the stage says about its servers.
    """

    takes_checkpoint_names = True
    adds_adapters = False

    def __init__(
        self,
        config: RolloutConfig,
        model_dir: Path,
        max_prompt_tokens: int,
        max_completion_tokens: int,
        precision: str,
        apart: Apart,
    ):
        self.config = config
        self.stop_ids: list[int] = []  # `make_sampler` sets them
        self.step: int | None = None  # whose weights the servers have; None: none that can be used
        self.rank, self.world_size = own_place()
        self.token, self.num_syncs = secrets.token_hex(4), 0  # of this sampler, in the labels of its weights
        self.weights: Weights = ()
        self.sources: list[Source] = []
        self.puller = Puller(config.server.lost_after_s, config.engine_timeout_s)
        self.group: ServerGroup | None = None
        if self.rank == 0:
            wanted = Wanted(
                installed_vllm(),
                transfer_of(config.server.transfer),
                precision,
                max_prompt_tokens + max_completion_tokens,
                apart.group_size,
                shape_digest(model_dir),
                vocabulary_digest(model_dir),
            )
            policy = Policy(model_dir, max_prompt_tokens, max_completion_tokens, precision, wanted)
            ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            self.group = ServerGroup(config, policy, apart.log_dir, ranks, apart.say)

    def begin(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        n: int,
        temperature: float,
        max_tokens: int,
        on_group: OnGroup | None = None,
        top_p: float | None = None,
        with_logprobs: bool = True,
    ) -> Drawing:
        """Starts what `sample` does, and returns at once. The arguments are those of `sample`."""
        settings = self._settings(n, temperature, max_tokens, top_p, with_logprobs)
        room = max(1, self.config.max_sequences // (n * self.world_size))
        for source in self.sources:
            source.room = room
        batch = Batch(prompts, seeds, settings, on_group)
        return Drawing(batch, self.puller.begin(batch, self._left()))

    def _settings(
        self, n: int, temperature: float, max_tokens: int, top_p: float | None = None, with_logprobs: bool = True
    ) -> dict[str, Any]:
        """vLLM's sampling parameters of a request, without its seed."""
        return {
            "n": n,
            "temperature": temperature,
            "top_p": top_p or self.config.top_p,
            "max_tokens": max_tokens,
            "stop_token_ids": self.stop_ids,
            "detokenize": False,
            "logprobs": 0 if with_logprobs else None,
        }

    def finish(self, drawing: Drawing, weights: Weights | None = None) -> list[list[Completion]]:
        """Waits for what `begin` started. Collective.

        Args:
            drawing: What `begin` gave.
            weights: What new servers are given where none is left; None: those of the last sync again.
        """
        batch = drawing.batch
        while True:
            drawing.pulling.wait()
            if not any(gather_objects([len(batch.missing)])):
                break
            self.sync(self.weights if weights is None else weights)
            drawing.pulling = self.puller.begin(batch, self._left())
        return [group for group in batch.groups if group is not None]

    def sample(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        n: int,
        temperature: float,
        max_tokens: int,
        on_group: OnGroup | None = None,
        top_p: float | None = None,
        with_logprobs: bool = True,
    ) -> list[list[Completion]]:
        """See `Sampler.sample`. Collective."""
        return self.finish(self.begin(prompts, seeds, n, temperature, max_tokens, on_group, top_p, with_logprobs))

    def draw_on_each(
        self, prompt: list[int], n: int, temperature: float, max_tokens: int
    ) -> dict[str, list[Completion]]:
        """n short completions of a prompt by each server that is left, by its address. Collective.

        Returns:
            The same on every rank.
        """
        drawn: list[tuple[str, list[Completion]]] = []
        if self.rank == 0:
            for source in self._left():
                source.room = self.config.max_sequences
                # One request each: of a single one for all, a server refuses more than it draws at once.
                batch = Batch([prompt] * n, list(range(n)), self._settings(1, temperature, max_tokens), None)
                self.puller.begin(batch, [source]).wait()
                if not batch.missing:
                    drawn.append((source.client.url, [one for group in batch.groups for one in group or []]))
        return dict(gather_objects(drawn))

    def sync(self, weights: Weights) -> None:
        """See `Sampler.sync`. Collective.

        Raises:
            InputError: A server has another model.
            ServersLost: No server is left that takes them.
        """
        self.weights = weights
        step = getattr(weights, "step", 0)
        self.step = None
        lost = gather_objects([(source.client.url, source.lost) for source in self.sources if source.lost])
        for number in range(TRANSFERS):
            time.sleep(PAUSE_S * number)
            self.num_syncs += 1
            label = f"{self.token}/{self.num_syncs}/step {step}"
            self._prepare(lost)
            lost = self._send(weights, label)
            self.sources = self._sources(label, step)
            if self.sources:
                self.step = step
                return
        raise ServersLost(
            f"no server took the weights of step {step} in {TRANSFERS} tries: "
            + "; ".join(f"{name} {why}" for name, why in lost),
            "the same command continues from the last checkpoint",
        )

    def _prepare(self, lost: list[tuple[str, str]]) -> None:
        """Has rank 0 replace what is lost, and wait until there is something to send weights to."""
        if self.group is None:
            return
        self.group.mark_lost(lost)
        self.group.wait(len(self.group.replicas) if self.num_syncs == 1 else 1)

    def _send(self, weights: Weights, label: str) -> list[tuple[str, str]]:
        """Sends the weights; the other ranks take part in gathering them. Returns what is lost now."""
        if self.group is None:
            for _ in weights:
                pass
            return []
        return [(name, why) for name, why in self.group.send(weights, label).items()]

    def _sources(self, label: str, step: int) -> list[Source]:
        """The servers that have these weights, the same on every rank."""
        mine: list[str] = []
        if self.group is not None:
            mine = [str(one.url) for one in self.group.replicas if one.label == label and one.lost is None]
        urls = gather_objects(mine)
        processes = {one.url: one for one in self.group.replicas} if self.group is not None else {}
        label = gather_objects([label])[0]  # rank 0's
        made = []
        for url in urls:
            client = processes[url].client if url in processes else None
            has_ended = processes[url].has_ended if url in processes else _is_unknown
            made.append(Source(client or Client(url, self.config.engine_timeout_s, ASK_S), label, step, 1, has_ended))
        return made

    def _left(self) -> list[Source]:
        return [source for source in self.sources if source.lost is None]

    def sleep(self) -> bool:
        """The trainer's GPU is its own already."""
        return False

    def close(self) -> None:
        """See `Sampler.close`."""
        if self.group is not None:
            self.group.close()


def _is_unknown() -> bool:
    return False


def transfer_of(transfer: str) -> str:
    """`rollout.server.transfer`, with auto decided."""
    if transfer != "auto":
        return transfer
    return "nccl" if torch.cuda.is_available() else "gloo"
