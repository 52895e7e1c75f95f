"""The one schema: type, default, range, unit and source of everything that a stage can be told.

Both halves use it: the driver to check a composed configuration before anything is launched, a worker to read
`config.json`. It imports nothing heavy. Defaults are the published numbers of DeepSeek-R1 where there are any. Sources
stand in brackets: [N] Nature 645 (2025) Methods, [V1] and [V2] versions 1 and 2 of arXiv 2501.12948, [DAPO]
arXiv 2503.14476, [ours] our own choice where the paper is silent.

`from_dict` turns plain data into these dataclasses and reports every mistake at once, each with its key, its value and
its fix.
"""

from stages.config.convert import from_dict, output_fields, to_dict
from stages.config.data import DataConfig, MixtureSource, PrepareConfig, SourceConfig, TracesConfig
from stages.config.engines import (
    BF16_TOLERANCE,
    SHAPE,
    VLLM_CPU_HEAD_SIZES,
    DeepSpeedConfig,
    ModelConfig,
    OptimConfig,
    RolloutConfig,
)
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting
from stages.config.graders import JudgeConfig, SandboxConfig
from stages.config.grpo import GrpoConfig, HackingConfig, MixConfig, RewardConfig
from stages.config.introspect import KeysOf, counts, fields_of, is_operational, section_of, unit_of
from stages.config.lora import LoraConfig
from stages.config.mistakes import ConfigError
from stages.config.sampling import CollectConfig, EvaluateConfig, SuiteConfig
from stages.config.server import ServerConfig
from stages.config.training import HealthConfig, PretrainConfig, RewardModelsConfig, SftConfig, StageConfig

__all__ = [
    "BF16_TOLERANCE",
    "GENERAL_VERSIONS",
    "KINDS",
    "SHAPE",
    "VERSIONS",
    "VLLM_CPU_HEAD_SIZES",
    "Bool",
    "Checked",
    "CollectConfig",
    "ConfigError",
    "DataConfig",
    "DeepSpeedConfig",
    "EvaluateConfig",
    "Float",
    "GrpoConfig",
    "HackingConfig",
    "HealthConfig",
    "Int",
    "JudgeConfig",
    "KeysOf",
    "LoraConfig",
    "MixConfig",
    "MixtureSource",
    "ModelConfig",
    "OptimConfig",
    "PrepareConfig",
    "PretrainConfig",
    "RewardConfig",
    "RewardModelsConfig",
    "RolloutConfig",
    "SandboxConfig",
    "ServerConfig",
    "SftConfig",
    "SourceConfig",
    "StageConfig",
    "SuiteConfig",
    "TracesConfig",
    "config_class",
    "counts",
    "fields_of",
    "from_dict",
    "is_operational",
    "output_fields",
    "section_of",
    "setting",
    "to_dict",
    "unit_of",
]

KINDS: dict[str, type] = {
    "pretrain": PretrainConfig,
    "sft": SftConfig,
    "grpo": GrpoConfig,
    "collect": CollectConfig,
    "reward_models": RewardModelsConfig,
    "evaluate": EvaluateConfig,
}

# Raise a kind's version when its code changes what it produces: old directories are then made anew instead of trusted.
VERSIONS: dict[str, int] = {
    "pretrain": 3,
    "sft": 4,
    "grpo": 4,
    "collect": 4,
    "reward_models": 4,
    "evaluate": 5,
    "report": 1,
}
# The same for the general prompts and pairs that are trained on, by `data.general`.
GENERAL_VERSIONS: dict[str, int] = {"english": 2}
