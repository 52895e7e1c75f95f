"""The base model, and the engines that sample and train: vLLM, DeepSpeed, the optimizer."""

from typing import Annotated, Literal

from pydantic import Field

from stages.config.choices import Precision
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting
from stages.config.server import ServerConfig

# Sizes of an attention head that vLLM has kernels for on a CPU, in elements.
VLLM_CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)

# What `logprob_tolerance` should be in bf16, in nats a token: a little more than rounding has made.
BF16_TOLERANCE = 0.5


# The fields of ModelConfig that say what the recipe's own base looks like.
SHAPE = ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "intermediate_size", "max_positions",
         "tie_embeddings")  # fmt: skip


@config_class
class ModelConfig(Checked):
    """The base model: a directory or hub id of any Hugging Face causal LM, or a small Llama of the recipe's own.

    The shape is that of the recipe's own base, which is pretrained where `path` is null.
    """

    path: str | None = setting(
        None,
        "Hugging Face model directory, or the id of a cached hub model; null: the recipe pretrains a base of its own.",
    )
    revision: str | None = setting(None, "Revision of a hub model.")
    hidden_size: Int = setting(128, "Width of the recipe's own base [ours].", unit="elements", gt=0)
    num_layers: Int = setting(3, "Layers of the recipe's own base [ours].", unit="layers", gt=0)
    num_heads: Int = setting(4, "Attention heads of the recipe's own base [ours].", unit="heads", gt=0)
    num_kv_heads: Int = setting(2, "Key-value heads of the recipe's own base [ours].", unit="heads", gt=0)
    intermediate_size: Int = setting(
        256, "Width of the feed-forward layers of the recipe's own base [ours].", unit="elements", gt=0
    )
    max_positions: Int = setting(256, "Context length of the recipe's own base [ours].", unit="tokens", gt=0)
    tie_embeddings: Bool = setting(
        False, "Whether the output head of the recipe's own base shares the embedding matrix [ours]."
    )

    def mistakes(self) -> list[str]:
        """Heads divide the width, and key-value heads divide the heads."""
        errors = []
        if self.hidden_size % self.num_heads:
            errors.append(f"hidden_size {self.hidden_size} is not divisible by num_heads {self.num_heads}")
        if self.num_heads % self.num_kv_heads:
            errors.append(f"num_heads {self.num_heads} is not divisible by num_kv_heads {self.num_kv_heads}")
        return errors

    def idle(self) -> dict[str, str]:
        """The shape is that of a base of the recipe's own, and only a model from outside has revisions."""
        if not self.path:
            return {"revision": "path is empty, so the recipe makes a base of its own"}
        return dict.fromkeys(SHAPE, "the model in path has the shape that it has")


@config_class
class RolloutConfig(Checked):
    """How completions are sampled."""

    engine: Literal["vllm", "transformers", "server"] = setting(
        "vllm",
        "vllm: in the trainer's process; server: vLLM servers apart from the trainer (docs/guides/rollout_servers.md); "
        "transformers: the slow fallback and the oracle of the tests.",
    )
    temperature: Float = setting(
        1.0, "Sampling temperature: 1 for RL, 0.7 in the last stage [N].", unit="none", gt=0, le=5
    )
    top_p: Float = setting(
        1.0,
        "Share of the probability that is sampled from: 0.95 for evaluation [V2 D.1], 1 where log-probabilities are "
        "trained on.",
        unit="share",
        gt=0,
        le=1,
    )
    max_sequences: Int = setting(
        256, "Most sequences that one engine decodes at once.", unit="sequences", gt=0, operational=True
    )
    kv_cache_gib: Float = setting(
        0.0625, "Memory for the KV cache of one engine on a CPU.", unit="GiB", gt=0, operational=True
    )
    gpu_memory_fraction: Float = setting(
        0.6, "Share of a GPU's memory that the engine takes (GPU only).", unit="share", gt=0, lt=1, operational=True
    )
    tensor_parallel: Int = setting(
        1, "Neighbouring ranks that hold one engine together (engine=vllm).", unit="ranks", gt=0
    )
    engine_timeout_s: Float = setting(
        900.0,
        "Longest that one decoding step of the engine, or a weight sync, may take before the rank fails and says so.",
        unit="seconds",
        gt=0,
        operational=True,
    )
    logprob_tolerance: Float = setting(
        1e-3,
        "Largest |sampler - trainer| log-probability that the probe after each weight sync accepts: 1e-3 for fp32, "
        f"where a weight of the step before shows as 1e-2; {BF16_TOLERANCE} for bf16, whose rounding alone makes up to "
        "0.4 with SmolLM2-135M [ours].",
        unit="nats a token",
        gt=0,
    )

    server: ServerConfig = setting(
        ServerConfig, "The servers of engine=server, in reinforcement learning.", added_later=True
    )

    @property
    def is_vllm(self) -> bool:
        """Whether vLLM draws, in the trainer's process or in a server."""
        return self.engine != "transformers"

    def mistakes(self) -> list[str]:
        """Only vLLM divides a model."""
        if self.engine == "server" and self.tensor_parallel > 1:
            return [
                f"tensor_parallel {self.tensor_parallel} is for engine=vllm: give the servers theirs, as "
                f"server.tensor_parallel={self.tensor_parallel}"
            ]
        if self.engine != "vllm" and self.tensor_parallel > 1:
            return [
                f"tensor_parallel {self.tensor_parallel}: engine={self.engine} holds the whole model on each rank: "
                "use rollout=vllm or tensor_parallel=1"
            ]
        return []

    def idle(self) -> dict[str, str]:
        """Its memory is vLLM's, and only servers have addresses."""
        if self.engine == "server":
            return {}
        unused = {"server": f"engine={self.engine}"}
        if self.engine == "vllm":
            return unused
        names = ("kv_cache_gib", "gpu_memory_fraction")
        return unused | dict.fromkeys(names, f"engine={self.engine} has no use for it")


@config_class
class OptimConfig(Checked):
    """The optimizer and its learning rate over the steps."""

    lr: Float = setting(3e-6, "Peak learning rate: 3e-6 for RL [N], 5e-5 for SFT [V2 B.4.2].", unit="none", gt=0, le=1)
    name: Literal["adamw", "muon"] = setting(
        "adamw",
        "adamw: AdamW for all parameters; muon: Muon for the hidden matrices and AdamW for the rest, at ZeRO stage 0 "
        "only [ours].",
    )
    muon_lr: Float = setting(0.02, "Learning rate of the matrices where name=muon [ours].", unit="none", gt=0, le=1)
    betas: list[Annotated[Float, Field(ge=0, lt=1)]] = setting(
        [0.9, 0.95], "Momentum coefficients of AdamW [ours].", unit="none"
    )
    eps: Float = setting(1e-8, "Epsilon of AdamW, added to the denominator [ours].", unit="none", gt=0)
    weight_decay: Float = setting(0.0, "Decoupled weight decay [ours].", unit="none", ge=0, le=1)
    grad_clip: Float = setting(1.0, "Largest global norm of the gradient; 0: no limit [ours].", unit="none", ge=0)
    schedule: Literal["constant", "linear", "cosine"] = setting(
        "constant", "Shape of the learning rate after the warm-up: cosine for SFT [V2 B.4.2]."
    )
    warmup_steps: Int = setting(0, "Length of the linear warm-up [ours].", unit="optimizer steps", ge=0)
    constant_fraction: Float = setting(
        0.0,
        "Share of all steps that is held at the peak before the decay begins [ours].",
        unit="share",
        ge=0,
        le=1,
    )
    min_lr_ratio: Float = setting(
        0.0,
        "Final learning rate over the peak: 0.1 for SFT [V2 B.4.2] and distillation [V2 B.4.3].",
        unit="share",
        ge=0,
        le=1,
    )

    def idle(self) -> dict[str, str]:
        """Muon has a rate of its own, and a constant rate has no end that is lower."""
        found = {} if self.name == "muon" else {"muon_lr": f"name={self.name}"}
        if self.schedule == "constant":
            found |= dict.fromkeys(("constant_fraction", "min_lr_ratio"), "schedule=constant")
        return found


@config_class
class DeepSpeedConfig(Checked):
    """How DeepSpeed divides the training state over ranks, and in which precision it computes."""

    zero_stage: Int = setting(
        0,
        "What ranks share out. 0: nothing, they are replicas; 1: the optimizer state; 2: gradients too; 3: parameters "
        "too.",
        unit="ZeRO stage",
        ge=0,
        le=3,
    )
    precision: Precision = setting(
        "fp32", "Type of parameters and computations: fp32 on a CPU, where bf16 is 6 to 8 times slower."
    )
    offload_optimizer: Bool = setting(False, "Keep the optimizer state in host memory (ZeRO 1 to 3, GPU).")
    offload_parameters: Bool = setting(False, "Keep the parameters in host memory (ZeRO 3, GPU).")
    gradient_checkpointing: Bool = setting(
        False, "Recompute activations in the backward pass: less memory, 20 to 30% slower."
    )
    sequence_parallel: Int = setting(
        1,
        "Neighbouring ranks that hold the rows of a batch together, each a slice of the tokens, for long contexts "
        "(Ulysses, arXiv 2309.14509): it divides the ranks and the model's attention heads. 1: every rank has rows of "
        "its own.",
        unit="ranks",
        gt=0,
        added_later=True,
    )
    mlp_tiles: Int = setting(
        1,
        "Parts, one after the other, in which a feed-forward layer computes the tokens of a micro-batch, again in the "
        "backward pass: less memory for long rows, slower (TiledMLP, arXiv 2506.13996). 1: all at once.",
        unit="parts",
        gt=0,
        added_later=True,
    )
    hpz_partition_size: Int = setting(
        1,
        "Neighbouring ranks of one machine that keep a second copy of the parameters among themselves, so that the "
        "backward pass gathers within the machine (ZeRO++ hpZ, arXiv 2306.10209; ZeRO 3). 1: no second copy.",
        unit="ranks",
        gt=0,
        added_later=True,
    )
    export_shard_gib: Float = setting(
        5.0,
        "Most that one weight file of an exported model holds; a larger model becomes several files and an index.",
        unit="GiB",
        gt=0,
        operational=True,
    )

    def mistakes(self) -> list[str]:
        """Only what ranks share out can be kept in host memory, or twice."""
        errors = []
        if self.hpz_partition_size > 1 and self.zero_stage != 3:
            errors.append(
                f"hpz_partition_size {self.hpz_partition_size} needs zero_stage 3, got {self.zero_stage}: choose the "
                "zero3 option, or hpz_partition_size=1"
            )
        if self.offload_parameters and self.zero_stage != 3:
            errors.append(
                f"offload_parameters needs zero_stage 3, got {self.zero_stage}: choose the zero3_offload option"
            )
        if self.offload_optimizer and self.zero_stage == 0:
            errors.append("offload_optimizer needs zero_stage 1, 2 or 3: choose another deepspeed option")
        return errors
