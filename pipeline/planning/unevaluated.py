"""Models that a run has finished, and that an evaluation leaves out because the configuration is another one now."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.configuration.graph import Node
from pipeline.errors import MessageAndFix
from stages.contract.manifest import Manifest

if TYPE_CHECKING:
    from pipeline.planning.plan import Step

SHOWN = 3  # models that a line names
DAMAGED = "damaged"  # the reason of a plan for a stage whose files were changed
FIX = "keys for the evaluation alone are those of stages.evaluate, as rollout@stages.evaluate.rollout=transformers"
FIX_OF_DAMAGE = "`r1 status` says how to mend it"


def unevaluated_notes(steps: Sequence["Step"], nodes: Mapping[str, Node], known: Mapping[str, "Step"]) -> list[str]:
    """A line for each evaluation that is going to run without models that the run has."""
    return [
        f"{step.stage} leaves out {len(left)} of the run's models, which this configuration would make anew: "
        f"{_listed(left)}; {_fix(left)}"
        for step in steps
        if _reads_models(step) and not step.is_made and (left := _left_out(step, nodes[step.stage], known))
    ]


def nothing_to_evaluate(step: "Step", node: Node, known: Mapping[str, "Step"], run: str) -> list[MessageAndFix]:
    """The error of an evaluation without any model, where the run has some; nothing where it has none."""
    left = _left_out(step, node, known) if _reads_models(step) else []
    message = f"{step.stage} has nothing to work on: this configuration would make all models of the run {run} anew"
    return [(f"{message}: {_listed(left)}", _fix(left))] if left else []


def _reads_models(step: "Step") -> bool:
    return step.kind == "evaluate" and not getattr(step.config, "directories", [])


def _left_out(step: "Step", node: Node, known: Mapping[str, "Step"]) -> list["Step"]:
    """The models that the evaluation would have and that were finished, in the place that the run shows."""
    wanted = [known[source] for role, source in node.inputs.items() if role not in step.inputs and source in known]
    return [one for one in wanted if (one.dir.parent / "latest" / Manifest.FILE_NAME).exists()]


def _fix(left: Sequence["Step"]) -> str:
    return FIX_OF_DAMAGE if all(one.reason == DAMAGED for one in left) else FIX


def _listed(left: Sequence["Step"]) -> str:
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    return ", ".join(f"{one.stage} ({one.reason})" for one in left[:SHOWN]) + more
