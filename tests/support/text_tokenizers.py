"""Small tokenizers of every kind that models bring: byte-level, SentencePiece in its forms, unigram, word pieces."""

from __future__ import annotations

import json
from collections.abc import Callable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

_CORPUS = [
    "what color is the shape ? the red square is left of the blue one .",
    "how many circles are there ? one two three four five yes no",
] * 10
_QUIET = {"show_progress": False}


def byte_level(
    *, prefix: bool = False, trim: bool = False, normalizer: normalizers.Normalizer | None = None
) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.decoder, made.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=trim)
    if normalizer:
        made.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, **_QUIET)
    made.train_from_iterator(_CORPUS, trainer)
    return made


def sentencepiece(form: str) -> Tokenizer:
    """With bytes for unknown characters: ``llama`` (a space before each text), ``metaspace``, or ``gemma`` (none)."""
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if form == "metaspace":
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        steps = [normalizers.Prepend("▁")] if form == "llama" else []
        made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([*parts, *([] if form == "gemma" else [decoders.Strip(" ", 1, 0)])])
    special = ["<unk>", "<s>", "</s>", *pieces]
    made.train_from_iterator(_CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, **_QUIET))
    document = json.loads(made.to_str())  # bytes are pieces, not special tokens
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] not in pieces]
    return Tokenizer.from_str(json.dumps(document))


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<s>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", **_QUIET)
    made.train_from_iterator(_CORPUS, trainer)
    return made


def word_pieces() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = ["[UNK]", "<s>", "</s>"]
    made.train_from_iterator(_CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, **_QUIET))
    return made


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": byte_level,
    "bytes behind a space": lambda: byte_level(prefix=True),
    "bytes, trimmed": lambda: byte_level(trim=True),
    "bytes, NFC": lambda: byte_level(normalizer=normalizers.NFC()),
    "bytes, NFKC": lambda: byte_level(normalizer=normalizers.NFKC()),
    "bytes, lower case": lambda: byte_level(normalizer=normalizers.Lowercase()),
    "bytes, stripped": lambda: byte_level(normalizer=normalizers.Strip()),
    "llama": lambda: sentencepiece("llama"),
    "metaspace": lambda: sentencepiece("metaspace"),
    "gemma": lambda: sentencepiece("gemma"),
    "unigram": unigram,
    "word pieces": word_pieces,
}
