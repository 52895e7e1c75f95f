"""A tokenizer for a few families: numbers and frequent words are one token each, and everything else is characters.

The words are those that many questions of a family have in common, a pure function of the data configuration, and those
of worked examples. Any printable ASCII text can be written; only the text of these families is short. A word of a
question includes the space before it.
"""

import math
import re
import string
from collections import Counter
from typing import TYPE_CHECKING

from stages.config import DataConfig
from stages.worlds.reasoning_gym.source import ReasoningGymPrompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")
TAGS = ("<think>", "</think>", "<answer>", "</answer>", "User:", "Assistant:")
# The words of worked examples, with the spaces around them.
MARKS = ("first ", ", then ", ", wait check ", " ok", " no", ", so ")
NUMBERS = tuple(str(number) for number in range(100))
CHARACTERS = tuple(character for character in string.printable if character not in string.digits + "\t\r\x0b\x0c")
UNKNOWN_TOKEN = "<unk>"
VOCABULARY_MULTIPLE = 32
_WORD = re.compile(" ?[A-Za-z]{2,}")
_COMMON_SHARE = 0.2  # a word is common where it is in this share of a family's questions


def common_words(questions: list[str]) -> list[str]:
    """Returns the words, with the space before them, that at least a fifth of the questions contain."""
    counts = Counter(word for question in questions for word in set(_WORD.findall(question)))
    return sorted(word for word, count in counts.items() if count >= _COMMON_SHARE * len(questions))


class Vocabulary:
    """Maps tokens to ids and encodes text.

    Attributes:
        ids: token -> id, padded with reserved tokens to a multiple of 32.
        pattern: a regular expression that splits a text into tokens.
    """

    def __init__(self, words: list[str]):
        """Takes the words that are one token each, besides numbers, tags and the words of worked examples."""
        tokens = list(dict.fromkeys((*SPECIAL_TOKENS, *TAGS, *NUMBERS, *MARKS, *words, *CHARACTERS, UNKNOWN_TOKEN)))
        padded_size = math.ceil(len(tokens) / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        tokens += [f"<reserved_{i}>" for i in range(len(tokens), padded_size)]
        self.ids = {token: index for index, token in enumerate(tokens)}
        marks = [re.escape(text) + ("(?![A-Za-z])" if text[-1].isalpha() else "") for text in MARKS]
        whole_words = [
            f"{'' if word.startswith(' ') else '(?<![A-Za-z])'}{re.escape(word)}(?![A-Za-z])"
            for word in sorted(words, key=len, reverse=True)
        ]
        self.pattern = "|".join([*map(re.escape, TAGS), *marks, *whole_words, "[1-9]?[0-9]", r"[\s\S]"])
        self._compiled = re.compile(self.pattern)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text, without special tokens."""
        return [self.ids.get(unit, self.ids[UNKNOWN_TOKEN]) for unit in self._compiled.findall(text)]


def build_tokenizer(vocabulary: Vocabulary) -> "PreTrainedTokenizerFast":
    """Builds the Hugging Face tokenizer of a vocabulary.

    It puts <bos> in front of every text (with special tokens on); decoding concatenates the tokens without spaces.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(vocabulary.ids, unk_token=UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(vocabulary.pattern), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", vocabulary.ids["<bos>"])]
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


def questions_of(data: DataConfig, count: int = 200) -> dict[str, list[str]]:
    """Returns the first `count` questions of each family, from training problems of a stream of their own."""
    found: dict[str, list[str]] = {}
    for task in data.tasks:
        source = ReasoningGymPrompts(data, 0, "vocabulary", tasks=[task])
        found[task] = [source.entry(index)[2]["question"].strip() for index in range(count)]
    return found
