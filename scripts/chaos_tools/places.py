"""Named places where `chaos.py` lets a process of a run be killed.

They are the boundaries between the phases of a stage, in the product's own functions.
"""

from dataclasses import dataclass

TRAINED = ("pretrain", "sft", "grpo", "reward_models")
SAMPLED = ("grpo", "collect", "reward_models", "evaluate")
ALL = ("pretrain", "sft", "grpo", "collect", "reward_models", "evaluate")
BOTH = ("before", "after")


@dataclass(frozen=True)
class Place:
    """A function of the product, `module:function` or `module:Class.method`.

    `match` is what the paths of the call must hold; `side` is main (rank 0 only), any (rank) or driver.
    """

    name: str
    kinds: tuple[str, ...]
    target: str
    match: str = ""
    side: str = "any"
    when: tuple[str, ...] = BOTH
    calls: int = 1  # the first so many calls are chosen from
    needs_checkpoint: bool = False


SAMPLERS = {
    "vllm": "stages.engines.sampling.vllm_sampler:VllmSampler",
    "transformers": "stages.engines.sampling.transformers_sampler:TransformersSampler",
}
PLACES = [
    Place("start of the worker", ALL, "stages.runtime.worker:Worker.__enter__"),
    Place("end of start-up", ALL, "stages.runtime.worker:Worker.startup_done", when=("after",)),
    Place("cut of the logs", ALL, "stages.contract.files:cut_jsonl", side="main", calls=3),
    Place(
        "log of a step",
        ("pretrain", "sft", "grpo", "collect", "reward_models"),
        "stages.contract.files:append_jsonl",
        side="main",
        calls=4,
    ),
    Place("sampling", SAMPLED, "SAMPLER.sample", calls=2),
    Place("sync", ("grpo",), "SAMPLER.sync", calls=2),
    Place("reward", ("grpo",), "stages.kinds.grpo.scoring:set_rewards", calls=3),
    Place("record of a sample", ("evaluate",), "stages.contract.records:RecordLog.append", calls=12),
    Place("gathering", ("grpo",), "stages.training.rollouts:gather", calls=3),
    Place("gathering of records", ("collect", "reward_models"), "stages.runtime.distributed:gather_objects", calls=3),
    Place("delivery of tokens", ("grpo",), "stages.training.exchange:deliver", calls=6),
    Place("rollout log", ("grpo",), "stages.training.rollout_log:RolloutLog.write", calls=3),
    Place("shard of the rollout log", ("grpo",), "os:replace", r"rollouts/.*\.arrow", calls=3),
    Place("manifest of the rollout log", ("grpo",), "os:replace", r"rollouts/.*/manifest\.jsonl", side="main", calls=3),
    Place("reading of the rollout log", ("grpo",), "stages.training.rollout_log:RolloutLog.read", calls=4),
    Place("removal of old rollouts", ("grpo",), "shutil:rmtree", r"rollouts/step_\d+$", side="main", calls=2),
    Place("forward", TRAINED, "stages.engines.training:TrainEngine.__call__", calls=6),
    Place("backward", TRAINED, "stages.engines.training:TrainEngine.backward", calls=4),
    Place("optimizer step", TRAINED, "stages.engines.training:TrainEngine.step", calls=4),
    Place("refresh of the reference", ("grpo",), "stages.kinds.grpo.reference:Reference.refresh"),
    Place("rename of the reference", ("grpo",), "os:replace", r"references/", side="main"),
    Place("checkpoint", TRAINED, "stages.engines.training:TrainEngine.parts", calls=3),
    Place("writing a checkpoint", TRAINED, "stages.engines.saver:write_parts", calls=3),
    Place(
        "checkpoint manifest",
        TRAINED,
        "stages.contract.files:write_json",
        r"\.step_\d+\.tmp/manifest\.json",
        side="main",
        calls=3,
    ),
    Place(
        "rename of the checkpoint manifest", TRAINED, "os:replace", r"\.step_\d+\.tmp/\.manifest", side="main", calls=3
    ),
    Place("rename of the checkpoint", TRAINED, "os:replace", r"\.step_\d+\.tmp .*step_\d+$", side="main", calls=3),
    Place("removal of an old checkpoint", TRAINED, "shutil:rmtree", r"state/(\w+/)?step_\d+$", side="main", calls=2),
    Place(
        "forgetting rollouts", ("grpo",), "stages.kinds.grpo.trainer:GrpoTrainer._drop_unneeded", side="main", calls=3
    ),
    Place("load of a checkpoint", TRAINED, "stages.engines.training:TrainEngine.load", needs_checkpoint=True),
    Place("export", TRAINED, "stages.modeling.model:save_model", side="main"),
    Place("weights of the export", TRAINED, "stages.engines.weight_files:write_weights", side="main"),
    Place("rename of exported weights", TRAINED, "os:replace", r"model/.*\.safetensors", side="main"),
    Place(
        "record of a prompt",
        ("collect", "reward_models"),
        "stages.contract.indexed_records:IndexedRecords.append",
        calls=6,
    ),
    Place("judging", ("collect",), "stages.kinds.collect.judging:finished", calls=3),
    Place("writing the data", ("collect",), "stages.kinds.collect.stage:finish"),
    Place("rename of the data card", ("collect",), "os:replace", r"card\.(json|md)", side="main", calls=2),
    Place("judged samples", ("reward_models",), "stages.contract.files:write_json", r"judged\.json", side="main"),
    Place("rename of the judged samples", ("reward_models",), "os:replace", r"judged\.json", side="main"),
    Place("reward statistics", ("reward_models",), "os:replace", r"reward_stats\.json", side="main"),
    Place(
        "end of a reward model",
        ("reward_models",),
        "stages.contract.files:write_json",
        r"_done\.json",
        side="main",
        calls=2,
    ),
    Place(
        "results of a model",
        ("evaluate",),
        "stages.contract.files:write_json",
        r"state/\w+\.json",
        side="main",
        calls=3,
    ),
    Place("results", ("evaluate",), "os:replace", r"results\.json", side="main"),
    Place("end of the stage", ALL, "stages.runtime.worker:Worker.finish", when=("before",)),
    Place("stage manifest", ALL, "stages.contract.files:write_json", r"/[0-9a-f]{8}/manifest\.json", side="main"),
    Place("rename of the stage manifest", ALL, "os:replace", r"/[0-9a-f]{8}/\.manifest", side="main"),
    Place("removal of the state", ALL, "shutil:rmtree", r"/state$", side="main"),
    Place("rename of the progress", ALL, "os:replace", r"\.progress\.json", side="main", calls=2),
    Place(
        "driver's files of the stage",
        ALL,
        "os:replace",
        r"/[0-9a-f]{8}/\.(config|inputs)\.json",
        side="driver",
        calls=2,
    ),
    Place("driver's link", ALL, "os:replace", r"latest", side="driver"),
    Place("launch", ALL, "pipeline.execution.launch:worker_environment", side="driver"),
    Place("driver's watch", ALL, "pipeline.execution.launch:LineRelay.poll", side="driver", calls=60),
    Place("driver's check of the stage", ALL, "stages.contract.manifest:verify", side="driver", calls=14),
]


HANGS = [Place("the reward of a group", ("grpo",), "stages.kinds.grpo.groups:GroupSampler._graded", calls=6)]


def places_of(kind: str, sampler: str) -> list[Place]:
    """The places that a stage of this kind comes by."""
    return [
        Place(**{**vars(place), "target": place.target.replace("SAMPLER", SAMPLERS[sampler])})
        for place in PLACES
        if kind in place.kinds
    ]
