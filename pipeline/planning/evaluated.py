"""What of an evaluation was measured before: one model on one suite, by everything that decides its numbers."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.configuration.schema import RunConfig
from pipeline.planning.fingerprint import with_content
from stages.config import VERSIONS, ConfigError, EvaluateConfig, from_dict, output_fields
from stages.contract.description import StageDescription
from stages.contract.earlier import OWN, EarlierPart, Parts
from stages.contract.files import digest
from stages.contract.inputs import StageInput, find_inputs
from stages.contract.manifest import Manifest, verify

KIND = "evaluate"
OF_OTHER_PARTS = ("models", "suites", "settings")  # which models and suites there are beside this part
UNKNOWN = "unknown"  # the fingerprint of a model that is not here


def part_keys(
    config: EvaluateConfig, inputs: Mapping[str, StageInput], data_files: Mapping[str, str], seed: int, version: int
) -> dict[tuple[str, str], str]:
    """(model, suite) -> a hash of all that decides the numbers of this model on this suite.

    Args:
        config: the evaluation's configuration.
        inputs: its models, by name.
        data_files: the hashes of what it reads from outside; a file counts by its content, not by its path.
        seed: the run's.
        version: of the code of evaluations.
    """
    fields = output_fields(config)
    for key, content in data_files.items():
        fields = with_content(fields, key.split("."), content)
    shared = {name: value for name, value in fields.items() if name not in OF_OTHER_PARTS}
    keys = {}
    for model, source in inputs.items():
        if source.model_dir is None or source.fingerprint == UNKNOWN:
            continue
        for suite in config.suites or [OWN]:
            settings = fields["settings"][suite] if config.suites else None
            # a stage draws by its name: two students with the same fingerprint have other weights
            model_identity = [source.stage, source.fingerprint, source.template]
            identity = [version, seed, shared, settings, *model_identity]
            keys[model, suite] = digest(identity)
    return keys


def find_earlier(
    run: RunConfig, config: EvaluateConfig, inputs: Mapping[str, StageInput], data_files: Mapping[str, str], own: Path
) -> Parts:
    """The parts that a finished evaluation of any run beside this one has measured.

    Args:
        run: the configuration of the run.
        config: that of the evaluation.
        inputs: its models, by name.
        data_files: the hashes of what it reads from outside.
        own: the evaluation's own directory, which is left out.
    """
    if not run.reuse or run.force:
        return {}
    missing = part_keys(config, inputs, data_files, run.seed, VERSIONS[KIND])
    found: Parts = {}
    for directory in _evaluations(run, own):
        if not missing:
            break
        there = {key: place for place, key in _keys_of(directory).items()}
        shared = {place: there[key] for place, key in missing.items() if key in there}
        if shared and not verify(directory).problems:
            for (model, suite), (name, _) in shared.items():
                found.setdefault(model, {})[suite] = EarlierPart(directory=str(directory), model=name)
                del missing[model, suite]
    return found


def _evaluations(run: RunConfig, own: Path) -> Iterator[Path]:
    """The finished evaluations of this run, then those of the others, the newest of each first."""
    paths = [path.parent for path in run.run_dir.parent.glob(f"*/{KIND}/*/{Manifest.FILE_NAME}")]
    places = [path for path in paths if path != own and not path.is_symlink() and ".old-" not in path.name]
    times = {path: (path / Manifest.FILE_NAME).stat().st_mtime for path in places}
    yield from sorted(places, key=lambda path: (path.parents[1] != run.run_dir, -times[path]))


def _keys_of(directory: Path) -> dict[tuple[str, str], str]:
    """The parts of a finished evaluation; none where its files are of another version."""
    description, inputs = StageDescription.find(directory), find_inputs(directory)
    if description is None or inputs is None:
        return {}
    try:
        config = from_dict(EvaluateConfig, description.config, "stages.evaluate")
        return part_keys(config, inputs, description.data_files, description.seed, description.version)
    except (ConfigError, KeyError, TypeError):
        return {}


def is_measured(parts: Parts, model: str, config: EvaluateConfig) -> bool:
    """Whether a model was measured on all suites of an evaluation."""
    return set(config.suites or [OWN]) <= set(parts.get(model, {}))
