"""What tiny models are made of: sizes, tokenizers and chat templates."""

from __future__ import annotations

from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CORPUS = [
    "what color is the shape ? the red square is left of the blue one .",
    "how many circles are there ? one two three four five yes no",
    "user assistant system question answer green yellow black white cat dog",
]
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
PATCHES = {"image_size": 28, "patch_size": 7}
SQUARE = {"height": 28, "width": 28}
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, **PATCHES, **VISION}
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}


Parts = dict[str, Any]
LLAMA = {"model_type": "llama", **TEXT}
MISTRAL = {"model_type": "mistral", "head_dim": 8, "sliding_window": None, **TEXT}
PATCH7 = {"patch_size": 7, "merge_size": 2}
DYNAMIC = {**PATCH7, "temporal_patch_size": 2, "size": {"shortest_edge": 28 * 28, "longest_edge": 70 * 70}}
TOWER = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "patch_size": 7,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 32,
}


def template(before: str, after: str, image: str, *, start: str = "", assistant: str = "assistant") -> str:
    """A chat template: ``before`` holds ROLE for the message's role, ``image`` stands for one image."""
    name = "{{ 'assistant' if m['role'] == 'assistant' else m['role'] }}".replace("'assistant' if", f"'{assistant}' if")
    body = (
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}"
        + image
        + "{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    )
    opened = before.replace("ROLE", assistant).replace("\n", "\\n")
    return (
        f"{start}{{% for m in messages %}}{before.replace('ROLE', name)}{body}{after}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ '{opened}' }}}}{{% endif %}}"
    )


def chatml(image: str) -> str:
    return template("<|im_start|>ROLE\n", "<|im_end|>\n", image)


def bpe(eos: str, *specials: str, bos: str | None = None, **named: str) -> Any:
    """A byte-level BPE tokenizer; ``named`` become attributes, such as ``image_token``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    every = list(dict.fromkeys(["<pad>", eos, *([bos] if bos else []), *specials, *named.values()]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=every, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 10, trainer)
    extra: dict[str, Any] = {}
    if bos:
        token = (bos, tokenizer.token_to_id(bos))
        single, pair = f"{bos} $A", f"{bos} $A $B"
        tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=[token])
        extra["bos_token"] = bos
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, pad_token="<pad>", extra_special_tokens=named, **extra
    )


def built(config: Any, tokenizer: Any, image: Any, processor: Any, chat: str, **more: Any) -> Parts:
    return {"config": config, "tokenizer": tokenizer, "image": image, "processor": processor, "template": chat, **more}


def config_of(name: str, **given: Any) -> Any:
    return getattr(transformers, f"{name}Config")(**given)


def ids_of(tokenizer: Any, **names: str) -> dict[str, int]:
    return {key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()}
