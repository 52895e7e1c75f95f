"""The names that keys can choose from are those that the tables of the code have, in the schema and beside it."""

from typing import get_args

import pytest

from pipeline.configuration import keys
from pipeline.configuration.defaults import suite_files
from pipeline.configuration.graph import NODES, STAGES
from pipeline.configuration.schema import RunConfig, StagesConfig
from pipeline.planning.estimate import STARTUP_S
from pipeline.report import names
from stages.__main__ import KIND_MODULES
from stages.config import KINDS, VERSIONS, EvaluateConfig, GrpoConfig, MixConfig, RewardConfig, SuiteConfig, fields_of
from stages.config.choices import Adapter, Advantage, Correction, Domain, Loader, Loss, Template, Verifier
from stages.data.adapters import ADAPTERS
from stages.data.mapping import DOMAINS
from stages.kinds.evaluation.suites import LOADERS
from stages.kinds.grpo.scoring import RULES
from stages.modeling.losses import ADVANTAGES, CORRECTIONS, LOSSES
from stages.rewards.grading import VERIFIERS
from stages.worlds.tiny_world import sources


@pytest.mark.parametrize(
    "choice, table",
    [
        (Verifier, VERIFIERS),
        (Adapter, ADAPTERS),
        (Loader, LOADERS),
        (Loss, LOSSES),
        (Advantage, ADVANTAGES),
        (Correction, ["none", *CORRECTIONS]),
        (Domain, DOMAINS),
        (Domain, fields_of(MixConfig)),
    ],
    ids=["verifiers", "adapters", "loaders", "losses", "advantages", "corrections", "domains", "mix"],
)
def test_a_choice_has_the_names_of_its_table(choice, table):
    assert list(get_args(choice)) == list(table)


def test_a_suite_can_choose_every_template_and_two_more():
    choices = set(get_args(fields_of(SuiteConfig)["template"].annotation))
    assert choices == {"auto", "data", *get_args(Template)}


def test_every_domain_of_a_prompt_is_one_of_the_tiny_world():
    assert set(get_args(Domain)) < set(sources.DOMAINS)


def test_every_rule_has_a_weight():
    assert set(RULES) < set(fields_of(RewardConfig))


def test_kinds_of_stages_are_the_same_everywhere():
    assert list(KIND_MODULES) == list(KINDS)
    assert {node.kind for node in NODES} == {*KINDS, "report"} == set(VERSIONS) == set(STARTUP_S)


def test_stages_are_the_same_everywhere():
    configured = {node.name: node.kind for node in NODES if node.name != "report"}
    assert {name: field.annotation for name, field in fields_of(StagesConfig).items()} == {
        name: KINDS[kind] for name, kind in configured.items()
    }
    assert set(STAGES) == set(names.STAGES) == set(keys.groups()["stage"]) - {"all"}


def test_config_groups_choose_what_their_key_can_be():
    groups = keys.groups()
    assert set(groups["eval"]) == set(suite_files())
    for group, key in (("rollout", "engine"), ("judge", "backend"), ("tracker", "name")):
        section = fields_of(RunConfig)[group].annotation
        assert set(groups[group]) == set(get_args(fields_of(section)[key].annotation)), group


def test_shared_sections_are_of_one_class():
    for name in ("data", "sandbox", "judge", "rollout", "deepspeed", "health"):
        shared = fields_of(RunConfig)[name].annotation
        for cls in (GrpoConfig, EvaluateConfig):
            if name in fields_of(cls):
                assert fields_of(cls)[name].annotation is shared
