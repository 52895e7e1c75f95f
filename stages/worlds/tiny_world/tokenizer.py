"""The tiny world's tokenizer: a closed vocabulary of whole numbers, words and tags, as a Hugging Face fast tokenizer.

Whole numbers are one token each, because tokens for digits make arithmetic far harder for a model of half a million
parameters. A text is its tokens one after the other, without spaces between them.
"""

from functools import cache
from typing import TYPE_CHECKING

from stages.worlds.tiny_world.lexicon import (
    NUMBERS,
    PUNCTUATION,
    SPECIAL_TOKENS,
    TAGS,
    UNKNOWN_TOKEN,
    WORDS,
    token_pattern,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY_MULTIPLE = 32


@cache
def vocabulary() -> dict[str, int]:
    """Returns token -> id, padded with reserved tokens to a multiple of 32."""
    tokens = list(SPECIAL_TOKENS + TAGS + NUMBERS + PUNCTUATION)
    tokens += [word.en for word in WORDS] + [word.zh for word in WORDS] + [UNKNOWN_TOKEN]
    while len(tokens) % VOCABULARY_MULTIPLE:
        tokens.append(f"<reserved_{len(tokens)}>")
    assert len(set(tokens)) == len(tokens)
    return {token: index for index, token in enumerate(tokens)}


def number_token_ids() -> list[int]:
    """Returns the ids of the tokens 0, 1, ..., 99 in this order."""
    return [vocabulary()[number] for number in NUMBERS]


def build_tokenizer() -> "PreTrainedTokenizerFast":
    """Builds the Hugging Face tokenizer of the tiny world.

    It puts <bos> in front of every text (with special tokens on); decoding concatenates the tokens without spaces.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(vocabulary(), unk_token=UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(token_pattern()), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", vocabulary()["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token=UNKNOWN_TOKEN,
        clean_up_tokenization_spaces=False,
        model_max_length=256,
        padding_side="left",
        add_bos_token=True,
    )
