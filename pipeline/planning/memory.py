"""How much memory a stage takes, of each GPU and of each machine, by parts, at the moment when it takes most.

Arithmetic on the configuration and the shape of the model; docs/memory.md has it beside measured peaks. On a CPU the
ranks of a machine share its memory, and everything is in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.configuration.graph import Node
from pipeline.configuration.resolve import uses_judge
from pipeline.configuration.schema import RunConfig
from pipeline.planning import lora
from pipeline.planning.activations import layer_bytes, logit_bytes
from pipeline.planning.capacity import gpu_gib
from pipeline.planning.devices import is_on_gpus
from pipeline.planning.shapes import Shape, shape_of
from pipeline.planning.training_state import TrainingState
from stages.config import LoraConfig, ModelConfig

GIB = 2**30
PARTS = {  # in the order in which they are shown
    "libraries": "the process: Python, torch, DeepSpeed, vLLM, their buffers; on a GPU the context of CUDA and NCCL",
    "weights": "of the model that is trained, with what ZeRO 3 gathers of them within a pass",
    "gradients": "with the bucket that they are sent in",
    "optimizer": "moments, fp32 copies of the weights, and what a step needs beside them",
    "reference": "the model that the KL term compares with",
    "judges": "reward models that score, and a judge in the rank's process",
    "sampler": "the weights of vLLM, and what it works with",
    "cache": "keys and values of the sequences that are sampled",
    "activations": "at the longest micro-batch, with the logits",
    "rollouts": "tokens and their log-probabilities",
    "checkpoint": "the copy that is written while training goes on",
}
# GiB of a rank's process on a CPU without any model: after some dozens of steps, measured (docs/memory.md)
LIBRARIES = {"pretrain": 0.6, "sft": 0.65, "grpo": 1.1, "collect": 1.0, "reward_models": 0.9, "evaluate": 1.27,
             "report": 0.2}  # fmt: skip
LIBRARIES_OF_SERVER = 1.0  # of a vLLM server on a CPU
LIBRARIES_BESIDE_GPU = {True: 5.0, False: 3.5}  # on the host, with vLLM and without
CONTEXT, NCCL = 0.6, 1.0  # GiB of each GPU, for a process and for its messages to others
GRAPHS = 1.5  # GiB that vLLM keeps beside its share of the GPU, asleep or awake: CUDA graphs and work space
SAMPLER_WORK = 1.0  # GiB of its share that vLLM works with besides weights and cache
BYTES_OF_TOKEN, BYTES_OF_ROW = 8, 100  # of a rollout: an id and a log-probability; what all ranks know of a row


@dataclass(frozen=True)
class Moment:
    """Bytes that are held at once, by part: on a rank's GPU, by each rank on the host, and by rank 0 besides."""

    name: str
    gpu: dict[str, float] = field(default_factory=dict)
    host: dict[str, float] = field(default_factory=dict)
    main: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Needed:
    """The memory of a stage.

    Attributes:
        gpu: GiB of one GPU by part, at the moment when most is taken; empty on a CPU.
        host: GiB of the machine that holds rank 0, all its ranks together.
        rank: GiB of the host's memory that rank 0 takes.
        gpu_moment: What the stage does when it takes most of a GPU.
        host_moment: What it does when it takes most of the host.
        sampler_share: GiB of a GPU that vLLM must at least get: weights, work space, one longest sequence.
        server_share: The same, of each GPU of a rollout server.
        tokens: Of the longest micro-batch.
    """

    gpu: dict[str, float]
    host: dict[str, float]
    rank: dict[str, float]
    gpu_moment: str
    host_moment: str
    sampler_share: float = 0.0
    server_share: float = 0.0
    tokens: float = 0.0

    @property
    def gpu_gib(self) -> float:
        """Of one GPU."""
        return sum(self.gpu.values())

    @property
    def host_gib(self) -> float:
        """Of one machine."""
        return sum(self.host.values())


def needed(node: Node, config: Any, run: RunConfig, shape: Shape | None = None) -> Needed | None:
    """The memory of a stage; None where its model is neither here nor known.

    Args:
        node: The stage in the graph.
        config: Its configuration; None for the report.
        run: The configuration of the whole run.
        shape: Of its model, where that has been looked up; then no file is read.
    """
    if config is None:
        only = {"libraries": LIBRARIES["report"]}
        return Needed({}, only, only, "", "start")
    is_looked_up = shape is not None
    model = getattr(config, "model", None) or run.model_of(node.name)
    shape = shape or shape_of(model)
    if shape is None or not shape.parameters:
        return None
    trained = shape.parameters
    if hasattr(config, "lora") and config.lora.is_on:
        layers = (None if is_looked_up else lora.layers_of(model)) or shape.as_layers()
        if not layers:
            return None
        trained = lora.adapter_parameters(config.lora, layers)
    stage = _Stage(node, config, run, shape, trained)
    moments = stage.moments()
    gpu = max(moments, key=lambda moment: sum(moment.gpu.values()))
    host = max(moments, key=lambda moment: stage.of_node(moment))
    ranks = run.launcher.num_processes
    of_node = _sum(*[host.host] * ranks, host.main)
    return Needed(
        gpu=_gib(gpu.gpu),
        host=_gib(of_node),
        rank=_gib(_sum(host.host, host.main)),
        gpu_moment=gpu.name,
        host_moment=host.name,
        sampler_share=stage.least_share() / GIB if stage.is_on_gpu and stage.has_vllm else 0.0,
        server_share=stage.least_share() / GIB if stage.is_on_gpu and stage.is_served else 0.0,
        tokens=stage.tokens() if stage.is_trained else 0.0,
    )


class _Stage:
    """The arithmetic of one stage. All sizes are bytes."""

    def __init__(self, node: Node, config: Any, run: RunConfig, shape: Shape, trained: float):
        self.node, self.config, self.run, self.shape = node, config, run, shape
        self.is_on_gpu = is_on_gpus(run)
        self.ranks = run.launcher.num_processes * run.launcher.num_nodes
        self.is_trained = hasattr(config, "deepspeed")
        self.rollout = getattr(config, "rollout", None)
        # in the trainer's process; servers draw for RL only
        self.is_served = node.kind == "grpo" and config.rollout.engine == "server"
        self.has_vllm = self.rollout is not None and self.rollout.engine != "transformers" and not self.is_served
        self.shares_gpu = self.is_served and self.is_on_gpu and config.rollout.server.transfer == "ipc"
        self.parallel = 1  # ranks, or GPUs of a server, that hold the sampler's model together
        if self.rollout is not None:
            self.parallel = config.rollout.server.tensor_parallel if self.is_served else config.rollout.tensor_parallel
        settings = getattr(config, "deepspeed", run.deepspeed)
        adapters = getattr(config, "lora", LoraConfig())
        self.state = TrainingState(shape, settings, trained, self.ranks, self.is_on_gpu, adapters)
        precision = getattr(config, "precision", settings.precision)  # an evaluation has its own
        self.number_bytes = 4 if precision == "fp32" else 2

    def moments(self) -> list[Moment]:
        """What is held at each moment that can be the one with most."""
        found = [self._rollout()] if self.rollout is not None else []
        if self.is_trained:
            found += [self._update(), self._step()]
        return [self._placed(moment) for moment in found] or [self._placed(Moment("start"))]

    def of_node(self, moment: Moment) -> float:
        """Bytes of the host's memory that the ranks of the first machine hold."""
        return self.run.launcher.num_processes * sum(moment.host.values()) + sum(moment.main.values())

    def tokens(self) -> float:
        """Tokens of a rank in the longest micro-batch: a sequence alone may be longer than the limit."""
        longest, sequences = self._longest(), self._sequences()
        parallel = self.state.config.sequence_parallel  # ranks that hold the rows of a batch together
        of_row = longest * max(1.0, sequences * parallel / self.ranks)
        return max(longest, min(self.config.micro_batch_tokens, of_row)) / parallel

    def least_share(self) -> float:
        """Bytes of a GPU without which vLLM does not start: weights, work space, one longest sequence."""
        work = SAMPLER_WORK * GIB + self._sampler_logits()
        return self._sampler_weights() + work + self._cached(self._sampled_length())

    def _rollout(self) -> Moment:
        """While completions are sampled: the trainer's state waits beside the sampler."""
        held = self._held() if self.node.kind == "grpo" else {}
        return Moment("rollout", _sum(held, self._sampler(is_awake=True), self._judge()), self._rollouts())

    def _update(self) -> Moment:
        """At the end of the last backward pass of a step, while the checkpoint before it is still being written."""
        settings = self.state.config
        layers = layer_bytes(self.shape, self.state.number_bytes, settings.gradient_checkpointing, settings.mlp_tiles)
        kept = self.tokens() * layers + logit_bytes(
            self.shape, self.state.number_bytes if self.is_on_gpu else 4, self.tokens(), self.is_on_gpu
        )
        passing = {
            "weights": self.state.gathered(),
            "gradients": self.state.gradients(),
            "activations": kept,
        }
        copied, main = self._checkpoint()
        return Moment("update", _sum(self._training(), passing), _sum(self._rollouts(), copied), main)

    def _step(self) -> Moment:
        """While the optimizer steps; the checkpoint of the step before is written by then."""
        passing = {"gradients": self.state.averaged(), "optimizer": self.state.step()}
        return Moment("step", _sum(self._training(), passing), self._rollouts())

    def _training(self) -> dict[str, float]:
        """What stays while the trainer works."""
        if self.node.kind == "grpo":
            return _sum(self._held(), self._sampler(is_awake=not self.is_on_gpu))
        return self._held()

    def _held(self) -> dict[str, float]:
        """What the trainer holds from its start to its end."""
        held = {"weights": self.state.weights(), "optimizer": self.state.optimizer()}
        if self.node.kind == "grpo" and self.config.beta > 0 and not self.state.lora.is_on:
            held["reference"] = self.state.reference()
        if "reward_models" in self.node.inputs and self.config.rewards.preference:
            held["judges"] = 2 * self.shape.parameters * self.state.number_bytes  # whole on every rank
        return held

    def _sampler(self, is_awake: bool) -> dict[str, float]:
        """What the engine holds. On a GPU it takes its share of the whole card, and sleeps while others work."""
        assert self.rollout is not None
        if self.is_served and not self.shares_gpu:
            return {}
        if not (
            self.has_vllm or self.shares_gpu
        ):  # it samples from the trainer's own weights, where there is a trainer
            own = 0.0 if self.node.kind == "grpo" else self.shape.parameters * self.number_bytes
            sequences = min(self.rollout.max_sequences, self._sampled_sequences())
            return {"sampler": own, "cache": self._cached(self._sampled_length()) * sequences}
        if not self.is_on_gpu:  # beside a trainer it begins without weights, else it reads them from mapped files
            mapped = 0.0 if self.node.kind == "grpo" else self.shape.parameters * self.number_bytes
            return {"sampler": self._sampler_weights() + mapped, "cache": self.rollout.kv_cache_gib * GIB}
        if not (is_awake or self.shares_gpu):  # a server never sleeps
            return {"sampler": GRAPHS * GIB}
        share = self.least_share()
        card = gpu_gib(self.run)
        if card:
            share = max(share, card * GIB * self.rollout.gpu_memory_fraction)
        of_weights = self._sampler_weights() + SAMPLER_WORK * GIB + self._sampler_logits()
        return {"sampler": of_weights + GRAPHS * GIB, "cache": share - of_weights}

    def _sampler_weights(self) -> float:
        assert self.rollout is not None
        tied = self.shape.vocabulary * self.shape.width if self.shape.is_tied and not self.is_on_gpu else 0
        return (self.shape.parameters + tied) * self.number_bytes / self.parallel

    def _sampler_logits(self) -> float:
        """fp32 logits of one decoding step, and their log-softmax."""
        assert self.rollout is not None
        return 2 * 4.0 * self.rollout.max_sequences * self.shape.vocabulary

    def _cached(self, tokens: float) -> float:
        """Keys and values of one sequence."""
        whole = tokens * self.shape.layers * self.shape.cached * self.number_bytes
        return whole / min(self.parallel, max(1, self.shape.kv_heads))

    def _rollouts(self) -> dict[str, float]:
        """Columns that the ranks share out, and what every rank knows of a row. Completions are as long as may be."""
        if self.node.kind != "grpo":
            return {}
        rows = self.config.prompts_per_step * self.config.group_size * self.config.updates_per_rollout
        if self.is_served and self.config.rollout.server.max_staleness:  # the next one is there before this one is over
            rows *= 2
        return {"rollouts": rows * (self._longest() * BYTES_OF_TOKEN / self.ranks + BYTES_OF_ROW)}

    def _judge(self) -> dict[str, float]:
        """A judge in the process of each rank (judge=vllm); an engine of its own beside the sampler's."""
        judge = getattr(self.config, "judge", None)
        if judge is None or judge.backend != "vllm" or not judge.model or not uses_judge(self.config):
            return {}
        shape = shape_of(ModelConfig(path=judge.model))
        weights = shape.parameters * (4 if judge.precision == "fp32" else 2) if shape is not None else 0.0
        if not self.is_on_gpu:
            return {"judges": 2 * weights + judge.kv_cache_gib * GIB}  # the mapped files, and the weights
        return {
            "judges": max(weights + SAMPLER_WORK * GIB, (gpu_gib(self.run) or 0.0) * GIB * judge.gpu_memory_fraction)
        }

    def _servers(self) -> dict[str, float]:
        """What servers take of the host's memory that rank 0 has started beside itself (rollout=server)."""
        if not self.is_served or self.config.rollout.server.urls or self.config.rollout.server.start != "local":
            return {}
        server = self.config.rollout.server
        count = server.replicas * server.tensor_parallel
        if self.is_on_gpu:
            return {"sampler": count * LIBRARIES_BESIDE_GPU[True] * GIB}
        mapped = 2 * self.shape.parameters * self.number_bytes / server.tensor_parallel  # the files, and the weights
        own = LIBRARIES_OF_SERVER * GIB + mapped
        return {"sampler": count * own, "cache": count * self.config.rollout.kv_cache_gib * GIB}

    def _checkpoint(self) -> tuple[dict[str, float], dict[str, float]]:
        """The copies of each rank, and of rank 0 besides, of a checkpoint that is written in the background."""
        settings = self.state.config
        if not self.config.save_in_background or settings.offload_optimizer:
            return {}, {}
        each, main = self.state.checkpoint()
        return {"checkpoint": each}, {"checkpoint": main}

    def _placed(self, moment: Moment) -> Moment:
        """The moment with libraries, and with everything where it is: on a CPU there is only the host's memory."""
        if not self.is_on_gpu:
            libraries = {"libraries": LIBRARIES[self.node.kind] * GIB}
            main = _sum(moment.main, self._servers())
            return Moment(moment.name, {}, _sum(libraries, moment.gpu, moment.host), main)
        context = CONTEXT + (NCCL if self.ranks > 1 else 0.0)
        gpu, host = _sum({"libraries": context * GIB}, moment.gpu), dict(moment.host)
        settings = self.state.config
        if self.is_trained and settings.offload_optimizer:
            gpu["optimizer"] = 0.0
            host["optimizer"] = self.state.optimizer() + 4 * self.state.trained / self.ranks
        if self.is_trained and settings.offload_parameters:
            gpu["weights"] = gpu.get("weights", 0.0) - self.state.weights()
            host["weights"] = self.state.weights()
        libraries = {"libraries": LIBRARIES_BESIDE_GPU[self.has_vllm] * GIB}
        return Moment(moment.name, gpu, _sum(libraries, host), _sum(moment.main, self._servers()))

    def _longest(self) -> float:
        """Tokens of the longest sequence that is trained on."""
        config = self.config
        if self.node.kind == "grpo":
            return config.data.max_prompt_tokens + max(limit for _, limit in config.max_completion_tokens)
        if self.node.kind == "reward_models":
            return config.data.max_prompt_tokens + config.max_completion_tokens
        if self.node.kind == "pretrain":
            return config.model.max_positions
        return config.max_tokens

    def _sequences(self) -> float:
        """Sequences of an optimizer step."""
        if self.node.kind == "grpo":
            return self.config.prompts_per_step * self.config.group_size
        return self.config.batch_size * (2 if self.node.kind == "reward_models" else 1)

    def _sampled_length(self) -> float:
        """Tokens of the longest sequence that is sampled."""
        config = self.config
        if self.node.kind == "grpo":
            return self._longest()
        if self.node.kind == "evaluate":
            suites = [suite.max_completion_tokens for suite in config.settings.values()]
            return config.data.max_prompt_tokens + max([*suites, config.max_completion_tokens])
        return config.data.max_prompt_tokens + config.max_completion_tokens

    def _sampled_sequences(self) -> float:
        if self.node.kind == "grpo":
            return self._sequences() * self.config.updates_per_rollout / self.ranks
        return self.rollout.max_sequences if self.rollout is not None else 0


def _sum(*tables: Mapping[str, float]) -> dict[str, float]:
    """The sum of each part."""
    return {part: sum(table.get(part, 0.0) for table in tables) for part in PARTS if any(part in t for t in tables)}


def _gib(table: Mapping[str, float]) -> dict[str, float]:
    return {part: size / GIB for part, size in table.items() if size}
