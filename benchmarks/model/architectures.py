"""Multimodal models of published sizes with random weights, made offline: configurations in code, no downloads.

The hyper-parameters are those of the published models: widths, layers, heads, vocabulary, vision tower, tiles and image
tokens. A scaled-down twin keeps the vocabulary of 151,936 tokens, the tiles and the image tokens, and shrinks the rest,
so that a CPU can run it. The tokenizer is a small one over the words of `model_data`; it uses the first few hundred of
the model's tokens.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from model_data import WORDS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import initialization

from dataprophet.model.processor import load_processor

SCALED_VOCABULARY = 151_936
_SCALED_TEXT = {
    "vocab_size": SCALED_VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
_SCALED_VISION = {"hidden_size": 64, "intermediate_size": 256}
_CHATML = ("<|im_start|>ROLE\n", "<|im_end|>\n")


@dataclass(frozen=True)
class Architecture:
    """A model's configuration and processor.

    Attributes:
        name: of the published model, with "scaled-down" before it where it is a twin.
        config: transformers configuration.
        processor: transformers processor, for images and text.
        image_sizes: widths and heights, in pixels, of images that make samples of about 600 tokens.
    """

    name: str
    config: Any
    processor: Any
    image_sizes: tuple[tuple[int, int], ...]

    def network(self, device: str, dtype: str, *, seed: int = 0) -> Any:
        """The model with random weights, made on the device in the dtype: no copy in float32 on the CPU.

        Matrices have the standard deviation 0.8 / sqrt(inputs), 0.02 at a width of 1536 as in published
        initialisations: logits vary by about one, whatever the width.
        """
        kind = getattr(torch, dtype)
        cls = transformers.AutoModelForImageTextToText
        # What torch and transformers draw for new weights is drawn over: spared where it can be.
        with torch.random.fork_rng(), torch.device(device), initialization.no_init_weights():
            torch.manual_seed(seed)
            network = cls.from_config(self.config, dtype=kind, attn_implementation="sdpa")
            with torch.no_grad():
                for name, weight in network.named_parameters():
                    if weight.ndim > 1:
                        weight.normal_(0, 0.8 * weight[0].numel() ** -0.5)
                    else:
                        weight.fill_(0.0 if name.endswith("bias") else 1.0)
        return network.eval()


def architecture(name: str, *, scaled: bool = False) -> Architecture:
    """One of `ARCHITECTURES`, or its scaled-down twin."""
    parts = ARCHITECTURES[name](scaled)
    with tempfile.TemporaryDirectory() as folder:
        processor = _processor(parts, Path(folder))
    title = f"scaled-down {name}" if scaled else name
    return Architecture(title, parts["config"], processor, parts["image_sizes"])


def _internvl(scaled: bool) -> dict[str, Any]:
    tokenizer = _tokenizer(
        "<|im_end|>",
        "<|im_start|>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    text = {
        "model_type": "qwen2",
        "vocab_size": 151_674,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32_768,
        "rope_theta": 1e6,
    }
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "attention_bias": True,
        "image_size": [448, 448],
        "patch_size": [14, 14],
    }
    if scaled:
        text |= _SCALED_TEXT
        vision |= {**_SCALED_VISION, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {
        "config": transformers.InternVLConfig(
            text_config=text,
            vision_config=vision,
            image_token_id=tokenizer.context_image_token_id,
            image_seq_length=256,
            tie_word_embeddings=False,
        ),
        "tokenizer": tokenizer,
        "image": ("GotOcr2ImageProcessor", {"size": {"height": 448, "width": 448}, "max_patches": 12}),
        "video": "InternVLVideoProcessor",
        "processor": ("InternVLProcessor", {"image_seq_length": 256}),
        "template": _template(*_CHATML, "<IMG_CONTEXT>\n"),
        "image_sizes": ((448, 448), (896, 448), (448, 896)),  # one tile; two tiles and a thumbnail
    }


def _qwen(scaled: bool) -> dict[str, Any]:
    tokenizer = _tokenizer(
        "<|im_end|>",
        "<|im_start|>",
        "<|vision_start|>",
        "<|vision_end|>",
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
    )
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
    text = {
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 11_008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128_000,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048}
    if scaled:
        text |= _SCALED_TEXT
        text["rope_parameters"] = {**text["rope_parameters"], "mrope_section": [8, 12, 12]}
        vision |= {**_SCALED_VISION, "depth": 2, "num_heads": 2, "out_hidden_size": 256, "fullatt_block_indexes": [1]}
    config = transformers.Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        **{key: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for key, token in names.items()},
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("Qwen2VLImageProcessor", {"size": size, "patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}),
        "video": "Qwen2VLVideoProcessor",
        "processor": ("Qwen2_5_VLProcessor", {}),
        "template": _template(*_CHATML, "<|vision_start|><|image_pad|><|vision_end|>"),
        "image_sizes": ((448, 448), (1024, 768), (640, 480), (768, 640)),  # 256, 999, 391 and 621 tokens
    }


def _smolvlm(scaled: bool) -> dict[str, Any]:
    grid = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = _tokenizer(
        "<end_of_utterance>",
        "<|im_start|>",
        *grid,
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
    )
    text = {
        "model_type": "llama",
        "vocab_size": 49_280,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rope_theta": 1e5,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 512,
        "patch_size": 16,
    }
    if scaled:
        text |= _SCALED_TEXT
        vision |= {**_SCALED_VISION, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}
    return {
        "config": transformers.Idefics3Config(
            text_config=text,
            vision_config=vision,
            image_token_id=tokenizer.image_token_id,
            scale_factor=4,
            tie_word_embeddings=False,
        ),
        "tokenizer": tokenizer,
        "image": ("Idefics3ImageProcessor", {**sizes, "do_image_splitting": True}),
        "processor": ("Idefics3Processor", {"image_seq_len": 64}),
        "template": _template("<|im_start|>ROLE: ", "<end_of_utterance>\n", "<image>"),
        "image_sizes": ((1024, 512), (512, 1024)),  # eight tiles of 512 pixels at twice the size, and the whole
    }


def _llava(scaled: bool) -> dict[str, Any]:
    tokenizer = _tokenizer("</s>", bos="<s>", image_token="<image>")
    text = {
        "model_type": "llama",
        "vocab_size": 32_064,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "projection_dim": 768,
    }
    if scaled:
        text |= _SCALED_TEXT
        vision |= {**_SCALED_VISION, "num_hidden_layers": 3, "num_attention_heads": 2}
    settings = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    square = {"height": 336, "width": 336}
    return {
        "config": transformers.LlavaConfig(
            text_config=text, vision_config=vision, image_token_index=tokenizer.image_token_id, image_seq_length=576
        ),
        "tokenizer": tokenizer,
        "image": ("CLIPImageProcessor", {"size": {"shortest_edge": 336}, "crop_size": square}),
        "processor": ("LlavaProcessor", settings),
        "template": _template("ROLE: ", " ", "<image>\n"),
        "image_sizes": ((640, 480), (768, 1024), (448, 448)),  # all become 336 x 336: 576 tokens
    }


ARCHITECTURES: dict[str, Callable[[bool], dict[str, Any]]] = {
    "InternVL3-2B": _internvl,
    "Qwen2.5-VL-3B": _qwen,
    "SmolVLM-256M": _smolvlm,
    "LLaVA-1.5-7B": _llava,
}


def _tokenizer(eos: str, *specials: str, bos: str | None = None, **named: str) -> Any:
    """A byte-level BPE tokenizer that has a token for each of `WORDS`; ``named`` become attributes of it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    every = list(dict.fromkeys(["<pad>", eos, *([bos] if bos else []), *specials, *named.values()]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2048, special_tokens=every, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([f"{word}\n {word}" for word in WORDS for _ in range(2)], trainer)
    extra: dict[str, Any] = {}
    if bos:
        token = (bos, tokenizer.token_to_id(bos))
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[token])
        extra["bos_token"] = bos
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, pad_token="<pad>", extra_special_tokens=named, **extra
    )


def _template(before: str, after: str, image: str) -> str:
    """A chat template: ``before`` holds ROLE for the message's role, ``image`` stands for one image."""
    opened = before.replace("ROLE", "assistant").replace("\n", "\\n")
    content = (
        f"{{% for c in m['content'] %}}{{% if c['type'] == 'image' %}}{image}"
        "{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    )
    return (
        f"{{% for m in messages %}}{before.replace('ROLE', '{{ m.role }}')}{content}{after}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ '{opened}' }}}}{{% endif %}}"
    )


def _processor(parts: dict[str, Any], folder: Path) -> Any:
    """Written the way a folder on the hub looks, and loaded: processors of images need no torchvision then."""
    torchvision = importlib.util.find_spec("torchvision") is not None
    parts["tokenizer"].save_pretrained(folder)
    name, settings = parts["image"]
    image = getattr(transformers, name if torchvision else f"{name}Pil")
    image(image_mean=[0.5] * 3, image_std=[0.5] * 3, **settings).save_pretrained(folder)
    if torchvision and "video" in parts:
        getattr(transformers, parts["video"])().save_pretrained(folder)
    name, settings = parts["processor"]
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": name, **settings}))
    (folder / "chat_template.jinja").write_text(parts["template"])
    parts["config"].save_pretrained(folder)
    return load_processor(str(folder), parts["config"])
