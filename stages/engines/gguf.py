"""Turns a GGUF file into a Hugging Face directory: `python -m stages.engines.gguf FILE DIRECTORY --card TEXT`.

transformers reads the file with the `gguf` package and dequantises its weights to fp32, which is how the recipe's
engines take them. The directory appears under its name when it is whole.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from stages.runtime.environment import prepare

EXIT_BAD_INPUT = 64


def convert(source: Path, directory: Path, card: str) -> int:
    """Writes the model of a GGUF file, its tokenizer and a model card.

    Args:
        source: The GGUF file.
        directory: Where the model goes; it must not exist yet.
        card: The text of README.md.

    Returns:
        The number of parameters.

    Raises:
        ValueError: weights of the model are not in the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    model, loaded = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32, output_loading_info=True)
    missing = sorted(loaded["missing_keys"])
    if missing:  # they would be filled with random numbers
        raise ValueError(f"{source} lacks {len(missing)} weights of {type(model).__name__}: {', '.join(missing[:5])}")
    # The weights are plain numbers now; with these, transformers would refuse to save them.
    del model.config.quantization_config
    model.hf_quantizer = None
    aside = directory.with_name(f".{directory.name}.{os.getpid()}")
    try:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        (aside / "README.md").write_text(card, encoding="utf-8")
        for path in aside.glob("*.safetensors"):  # which are for their owner alone, whatever the umask
            path.chmod((aside / "README.md").stat().st_mode)
        aside.rename(directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return int(model.num_parameters())


def main(arguments: list[str]) -> int:
    """Converts one file; prints the number of parameters."""
    parser = argparse.ArgumentParser(prog="python -m stages.engines.gguf", description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--card", required=True, help="the text of the model card")
    options = parser.parse_args(arguments)
    prepare()
    try:
        print(convert(options.source, options.directory, options.card))
    except (ImportError, ValueError) as error:
        print(f"{options.source} cannot be converted: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
