"""A tokenizer for a few families: whole numbers, the words of their questions and of worked examples are one token
each, all else a character.

The words of a family are those that many of its questions have in common, a pure function of the data config; so any
printable ASCII text can be written, and only these families' text is short. Words of a question carry the space before
them.
"""

import re
import string
from collections import Counter

from stages.config import DataConfig

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")
TAGS = ("<think>", "</think>", "<answer>", "</answer>", "User:", "Assistant:")
MARKS = (
    "first ",
    ", then ",
    ", wait check ",
    " ok",
    " no",
    ", so ",
)  # the words of worked examples, with the spaces around them
NUMBERS = tuple(str(number) for number in range(100))
CHARACTERS = tuple(character for character in string.printable if character not in string.digits + "\t\r\x0b\x0c")
UNKNOWN_TOKEN = "<unk>"
VOCABULARY_MULTIPLE = 32
_WORD = re.compile(" ?[A-Za-z]{2,}")
_COMMON_SHARE = 0.2  # of a family's questions


def common_words(questions: list[str]) -> list[str]:
    """Words, with the space before them, that stand in at least a fifth of the questions."""
    counts = Counter(word for question in questions for word in set(_WORD.findall(question)))
    return sorted(word for word, count in counts.items() if count >= _COMMON_SHARE * len(questions))


class Vocabulary:
    """Token -> id, and text to ids."""

    def __init__(self, words: list[str]):
        tokens = list(dict.fromkeys((*SPECIAL_TOKENS, *TAGS, *NUMBERS, *MARKS, *words, *CHARACTERS, UNKNOWN_TOKEN)))
        tokens += [
            f"<reserved_{i}>" for i in range(len(tokens), -(-len(tokens) // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE)
        ]
        self.ids = {token: index for index, token in enumerate(tokens)}
        marks = [re.escape(text) + ("(?![A-Za-z])" if text[-1].isalpha() else "") for text in MARKS]
        whole_words = [
            f"{'' if word.startswith(' ') else '(?<![A-Za-z])'}{re.escape(word)}(?![A-Za-z])"
            for word in sorted(words, key=len, reverse=True)
        ]
        self.pattern = "|".join([*map(re.escape, TAGS), *marks, *whole_words, "[1-9]?[0-9]", r"[\s\S]"])
        self._compiled = re.compile(self.pattern)

    def units(self, text: str) -> list[str]:
        return self._compiled.findall(text)

    def encode(self, text: str) -> list[int]:
        return [self.ids.get(unit, self.ids[UNKNOWN_TOKEN]) for unit in self.units(text)]


def build_tokenizer(vocabulary: Vocabulary):
    """The vocabulary as PreTrainedTokenizerFast: <bos> is put in front of every text (special tokens on), decoding only
    concatenates.
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
    """The first questions of each task, from training problems of a stream of their own."""
    from stages.worlds.reasoning_gym.source import ReasoningGymPrompts

    found: dict[str, list[str]] = {}
    for task in data.tasks:
        source = ReasoningGymPrompts(data, 0, "vocabulary", tasks=[task])
        found[task] = [source.entry(index)[2]["question"].strip() for index in range(count)]
    return found
