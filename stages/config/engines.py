"""The base model, and the engines that sample and train: vLLM, DeepSpeed, the optimizer."""

from typing import Annotated, Literal

from pydantic import Field

from stages.config.choices import Precision
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting

VLLM_CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


@config_class
class ModelConfig(Checked):
    """The base model: a directory or hub id of any HF causal LM, or (path null) a small Llama that the recipe trains
    itself.
    """

    path: str | None = setting(None, "HF model directory (or a cached hub id); null: the recipe pretrains its own base")
    revision: str | None = setting(None, "hub revision")
    hidden_size: Int = setting(128, "width of the recipe's own base", gt=0)
    num_layers: Int = setting(3, "layers of the recipe's own base", gt=0)
    num_heads: Int = setting(4, "attention heads of the recipe's own base", gt=0)
    num_kv_heads: Int = setting(2, "key-value heads of the recipe's own base", gt=0)
    intermediate_size: Int = setting(256, "width of the feed-forward layers of the recipe's own base", gt=0)
    max_positions: Int = setting(256, "context length of the recipe's own base, tokens", gt=0)
    tie_embeddings: Bool = setting(False, "share the embedding matrix with the output head of the recipe's own base")

    def mistakes(self):
        errors = []
        if self.hidden_size % self.num_heads:
            errors.append(f"hidden_size {self.hidden_size} is not divisible by num_heads {self.num_heads}")
        if self.num_heads % self.num_kv_heads:
            errors.append(f"num_heads {self.num_heads} is not divisible by num_kv_heads {self.num_kv_heads}")
        return errors


@config_class
class RolloutConfig(Checked):
    engine: Literal["vllm", "transformers"] = setting(
        "vllm", "vllm in the trainer's process; transformers: slow fallback and test oracle"
    )
    temperature: Float = setting(1.0, "sampling temperature; 1 for RL, 0.7 in the last stage [N]", gt=0, le=5)
    top_p: Float = setting(
        1.0,
        "share of the probability that is sampled from; 0.95 for evaluation [V2 D.1], 1 where logprobs are trained on",
        gt=0,
        le=1,
    )
    max_sequences: Int = setting(256, "most sequences decoded at once by one engine", gt=0, operational=True)
    kv_cache_gib: Float = setting(0.0625, "memory for the KV cache of one engine, GiB", gt=0, operational=True)
    gpu_memory_fraction: Float = setting(
        0.6, "share of a GPU's memory for the engine (GPU only)", gt=0, lt=1, operational=True
    )
    tensor_parallel: Int = setting(1, "GPUs that share one engine", gt=0)
    engine_timeout_s: Float = setting(
        900.0,
        "seconds that one decoding step of the engine, or a weight sync, may take before the rank fails and says so",
        gt=0,
        operational=True,
    )
    logprob_tolerance: Float = setting(
        1e-3,
        "largest |sampler - trainer| logprob that the probe after each weight sync accepts; "
        "1e-3 for fp32 (a step-old weight shows as 1e-2), about 0.2 for bf16",
        gt=0,
    )


@config_class
class OptimConfig(Checked):
    lr: Float = setting(3e-6, "peak learning rate; 3e-6 for RL [N], 5e-5 for SFT [V2 B.4.2]", gt=0, le=1)
    name: Literal["adamw", "muon"] = setting(
        "adamw", "adamw; muon: Muon for the hidden matrices, AdamW for the rest (ZeRO stage 0 only) [ours]"
    )
    muon_lr: Float = setting(0.02, "learning rate of the matrices when name=muon [ours]", gt=0, le=1)
    betas: list[Annotated[Float, Field(ge=0, lt=1)]] = setting([0.9, 0.95], "AdamW momentum coefficients [ours]")
    eps: Float = setting(1e-8, "AdamW epsilon [ours]", gt=0)
    weight_decay: Float = setting(0.0, "decoupled weight decay [ours]", ge=0, le=1)
    grad_clip: Float = setting(1.0, "global gradient-norm limit; 0 = none [ours]", ge=0)
    schedule: Literal["constant", "linear", "cosine"] = setting(
        "constant", "shape of the learning rate after warm-up: cosine for SFT [V2 B.4.2]"
    )
    warmup_steps: Int = setting(0, "optimizer steps of linear warm-up [ours]", ge=0)
    constant_fraction: Float = setting(
        0.0, "share of all steps held at the peak before the decay begins [ours]", ge=0, le=1
    )
    min_lr_ratio: Float = setting(
        0.0, "final learning rate over the peak; 0.1 for SFT and distillation [V2 B.4.2-3]", ge=0, le=1
    )


@config_class
class DeepSpeedConfig(Checked):
    zero_stage: Int = setting(0, "ZeRO stage: 0 replicas, 1 optimizer, 2 + gradients, 3 + parameters", ge=0, le=3)
    precision: Precision = setting("fp32", "parameter and compute type; fp32 on CPU (bf16 is 6-8 times slower there)")
    offload_optimizer: Bool = setting(False, "keep optimizer state in host memory (ZeRO 1-3, GPU)")
    offload_parameters: Bool = setting(False, "keep parameters in host memory (ZeRO 3, GPU)")
    gradient_checkpointing: Bool = setting(
        False, "recompute activations in the backward pass: less memory, 20-30% slower"
    )

    def mistakes(self):
        errors = []
        if self.offload_parameters and self.zero_stage != 3:
            errors.append(
                f"offload_parameters needs zero_stage 3, got {self.zero_stage}: choose the zero3_offload option"
            )
        if self.offload_optimizer and self.zero_stage == 0:
            errors.append("offload_optimizer needs zero_stage 1, 2 or 3: choose another deepspeed option")
        return errors
