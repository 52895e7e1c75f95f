"""Small real tokenizers, one for each way in which the families that people use differ."""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

TEXT = [
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it.",
    "<think> reasoning process here </think> <answer> answer here </answer> what is 31-3-7? wait, 21",
    "The quick brown fox jumps over the lazy dog; 0123456789 + - * / = ( ) user assistant system",
] * 20

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As of Llama 3: writes <bos>, trims what it is given.
HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# As of Gemma: no system messages, turns by tokens that need not be special ones.
TURNS = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# As of Qwen3 and R1: thoughts of earlier turns are dropped.
FORGETS = CHATML.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")


def byte_level(special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), plain=("<think>", "</think>"), **options):
    """Byte-level BPE, as GPT-2, Qwen and SmolLM have; adds nothing. `plain`: added tokens that are not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=options.pop("add_prefix_space", False))
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in plain])
    return tokenizer


def llama(prepend: str = "normalizer"):
    """BPE with a space in front of every text and bytes for unknown characters, as Llama 2 has; adds <s>."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = [normalizers.Replace(" ", "▁")]
    if prepend == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *steps])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = spec["added_tokens"][:3]  # bytes are pieces of the model
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return with_bos(tokenizer, "<s>")


def unigram():
    """Sentencepiece's other model, as T5 and Gemma's elders have: control tokens are pieces of its vocabulary."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(piece, -3.0) for piece in ("▁what", "▁is", "▁", "think", "answer", "<", ">", "/", "</")]
    pieces += [(character, -5.0) for character in sorted(set("".join(TEXT)) - {" ", "<", ">", "/"})]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    return with_eos(tokenizer, "</s>")


def word_level():
    """Whole words, as the tiny world has; the names of its control tokens are words too."""
    words = ["<pad>", "<bos>", "<eos>", "<unk>", "<think>", "</think>", "<answer>", "</answer>", "what", "is", "7", "1"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"<[^>]*>|\w+"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<pad>", "<bos>", "<eos>"])
    return with_bos(tokenizer, "<bos>")


def word_piece():
    """Lower-cased pieces of words, as BERT and its kin have: [CLS] in front and [SEP] behind every text."""
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "what",
        "is",
        "user",
        "assistant",
        "[",
        "]",
        "sep",
        "<",
        ">",
        "/",
        "?",
    ]
    pieces += list("abcdefghijklmnopqrstuvwxyz0123456789:-.{}")
    pieces += [f"##{character}" for character in "abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    return with_eos(tokenizer, "[SEP]", "[CLS]")


def with_bos(tokenizer, bos):
    """Puts a beginning of sequence in front of every text."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def with_eos(tokenizer, eos, bos=None):
    """Appends an end of sequence to every text, and perhaps puts a beginning in front."""
    front = f"{bos} " if bos else ""
    names = [name for name in (bos, eos) if name]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{front}$A {eos}", special_tokens=[(name, tokenizer.token_to_id(name)) for name in names]
    )
    return tokenizer


def saved(tokenizer, directory: Path, chat_template: str | None = None, config=None, generation=None, **roles):
    """The tokenizer as a model directory has it, loaded as a stage loads it; with the configurations beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
    wrapped.chat_template = chat_template
    wrapped.save_pretrained(directory)
    for name, content in (("config.json", config), ("generation_config.json", generation)):
        if content is not None:
            (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return AutoTokenizer.from_pretrained(directory)
