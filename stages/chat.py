"""Talk to a model directory: `python -m stages.chat MODEL_DIR [--template TEMPLATE] [--prompt TEXT]`.

Each line is a prompt of its own, as in training. By default the model's own chat template is put around it.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract.exit_codes import BAD_INPUT
from stages.runtime import environment
from stages.runtime.errors import InputError, user_errors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from stages.prompting.encoding import Encoder


def main(arguments: list[str]) -> int:
    """Answers one prompt, or those that are typed until an empty line; returns the exit code."""
    options = parse(arguments)
    environment.prepare()
    import torch
    from transformers.utils import logging

    from stages.modeling.model import load_model, load_tokenizer
    from stages.modeling.ready import require_rows

    logging.disable_progress_bar()
    try:
        tokenizer, model = load_tokenizer(options.model_dir), load_model(options.model_dir).eval()
        require_rows(model, tokenizer)
        encoder = _encoder(tokenizer, options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    if torch.cuda.is_available():
        model.cuda()
    torch.manual_seed(options.seed)
    if options.prompt is not None:
        answer(options.prompt, model, encoder, options)
        return 0
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            line = ""
        if not line:
            return 0
        answer(line, model, encoder, options)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m stages.chat", description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--prompt", help="answer this one prompt and end")
    parser.add_argument(
        "--template",
        default="auto",
        help="how the prompt is put before the model: plain, r1_zero, chat, or a file FILE.jinja; auto: by the chat "
        "template of its tokenizer, plain where it has none",
    )
    parser.add_argument("--system", default="", help="what the model is told before every prompt")
    parser.add_argument("--temperature", type=float, default=0.6, help="0: the most likely token every time")
    parser.add_argument(
        "--max-tokens", type=int, default=0, help="most tokens of an answer; 0: what the context leaves"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def _encoder(tokenizer: "PreTrainedTokenizerBase", options: argparse.Namespace) -> "Encoder":
    """What puts prompts before the model. Raises InputError for a template that it cannot be."""
    from stages.prompting.encoding import Encoder
    from stages.prompting.vocabulary import own_chat_template

    template = options.template
    if template == "auto":
        template = "chat" if own_chat_template(tokenizer) else "plain"
    elif Path(template).suffix:
        template = Path(template).read_text(encoding="utf-8")
    with user_errors():
        encoder = Encoder(tokenizer, template, options.system)
        encoder.prompt("a")
    return encoder


def answer(text: str, model: "PreTrainedModel", encoder: "Encoder", options: argparse.Namespace) -> None:
    """Prints the completion of a prompt token by token. Names words that the model's vocabulary does not have."""
    import torch

    prompt_ids = encoder.prompt(text)
    _warn_of_unknown_words(prompt_ids, encoder)
    room = getattr(model.config.get_text_config(), "max_position_embeddings", 4096) - len(prompt_ids)
    ids, cache = torch.tensor([prompt_ids], device=model.device), None  # [1, T]: all of the prompt, then a token a time
    completion: list[int] = []
    num_shown = 0  # characters
    with torch.no_grad():
        for _ in range(min(options.max_tokens or room, room)):
            output = model(input_ids=ids, past_key_values=cache, use_cache=True)
            cache, logits_V = output.past_key_values, output.logits[0, -1].float()
            if options.temperature == 0:
                token = int(logits_V.argmax())
            else:
                token = int(torch.multinomial(torch.softmax(logits_V / options.temperature, -1), 1))
            if token in encoder.stop_ids:
                break
            completion.append(token)
            (decoded,) = encoder.decode([completion])
            if not decoded.endswith("\ufffd"):  # half of a character: wait for the rest
                print(decoded[num_shown:], end="", flush=True)
                num_shown = len(decoded)
            ids = torch.tensor([[token]], device=model.device)
    print()


def _warn_of_unknown_words(prompt_ids: list[int], encoder: "Encoder") -> None:
    """The tiny world's models know few words."""
    unknown_id = encoder.tokenizer.unk_token_id
    unknown = sum(token == unknown_id for token in prompt_ids) if unknown_id is not None else 0
    if unknown:
        print(
            f"({unknown} words of this prompt are not in the model's vocabulary; "
            "the tiny world's models know prompts like "
            "'what is24-3+7+2?', without spaces around numbers)",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
