"""Nine families of multimodal models, tiny and random, built offline through transformers and written to a folder."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

FAMILIES = (
    "internvl",
    "qwen2_5_vl",
    "qwen3_vl",
    "llava",
    "llava_onevision",
    "smolvlm",
    "idefics3",
    "gemma3",
    "paligemma",
)
_CORPUS = [
    "what color is the shape ? the red square is left of the blue one .",
    "how many circles are there ? one two three four five yes no",
    "user assistant system question answer green yellow black white cat dog",
]
_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_PATCHES = {"image_size": 28, "patch_size": 7}
_SQUARE = {"height": 28, "width": 28}
_SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, **_PATCHES, **_VISION}
_ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}


def _template(before: str, after: str, image: str, *, start: str = "", assistant: str = "assistant") -> str:
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


def _chatml(image: str) -> str:
    return _template("<|im_start|>ROLE\n", "<|im_end|>\n", image)


def _tokenizer(eos: str, *specials: str, bos: str | None = None, **named: str) -> Any:
    """A byte-level BPE tokenizer; ``named`` become attributes, such as ``image_token``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    every = list(dict.fromkeys(["<pad>", eos, *([bos] if bos else []), *specials, *named.values()]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=every, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_CORPUS * 10, trainer)
    extra: dict[str, Any] = {}
    if bos:
        token = (bos, tokenizer.token_to_id(bos))
        single, pair = f"{bos} $A", f"{bos} $A $B"
        tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=[token])
        extra["bos_token"] = bos
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, pad_token="<pad>", extra_special_tokens=named, **extra
    )


def _internvl() -> dict[str, Any]:
    tokenizer = _tokenizer(
        "<|im_end|>",
        "<|im_start|>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), "tie_word_embeddings": True, **_TEXT},
        vision_config={"image_size": [28, 28], "patch_size": [7, 7], **_VISION},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("GotOcr2ImageProcessor", {"size": _SQUARE, "crop_to_patches": True, "max_patches": 4}),
        "video": ("InternVLVideoProcessor", {"size": _SQUARE}),
        "processor": ("InternVLProcessor", {"image_seq_length": 4}),
        "template": _chatml("<IMG_CONTEXT>\n"),
    }


def _qwen(version: str) -> dict[str, Any]:
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
    ids = {key: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}
    text = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, **_TEXT}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 7,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 32,
    }
    if version == "2_5":
        config = transformers.Qwen2_5_VLConfig(
            text_config={**text, "rope_parameters": _ROPE},
            vision_config={**vision, "fullatt_block_indexes": [1], "window_size": 28},
            **ids,
        )
    else:
        config = transformers.Qwen3VLConfig(
            text_config={**text, "head_dim": 8, "rope_parameters": {**_ROPE, "mrope_interleaved": True}},
            vision_config={**vision, "deepstack_visual_indexes": [0], "num_position_embeddings": 16},
            tie_word_embeddings=True,
            **ids,
        )
    patches = {"patch_size": 7, "merge_size": 2, "temporal_patch_size": 2}
    size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    video = "Qwen2VLVideoProcessor" if version == "2_5" else "Qwen3VLVideoProcessor"
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("Qwen2VLImageProcessor", {**patches, "size": size}),
        "video": (video, patches),
        "processor": ("Qwen2_5_VLProcessor" if version == "2_5" else "Qwen3VLProcessor", {}),
        "template": _chatml("<|vision_start|><|image_pad|><|vision_end|>"),
    }


def _llava() -> dict[str, Any]:
    tokenizer = _tokenizer("</s>", bos="<s>", image_token="<image>")
    config = transformers.LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **_TEXT},
        vision_config={"model_type": "clip_vision_model", "projection_dim": 32, **_PATCHES, **_VISION},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-2,
    )
    settings = {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("CLIPImageProcessor", {"size": {"shortest_edge": 28}, "crop_size": _SQUARE}),
        "processor": ("LlavaProcessor", settings),
        "template": _template("ROLE:", "</s>", "<image>\n"),
    }


def _llava_onevision() -> dict[str, Any]:
    tokenizer = _tokenizer("<|im_end|>", "<|im_start|>", image_token="<image>", video_token="<video>")
    pinpoints = [[28, 28], [28, 56], [56, 28], [56, 56]]
    config = transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), "tie_word_embeddings": True, **_TEXT},
        vision_config=_SIGLIP,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
        tie_word_embeddings=True,
    )
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("LlavaOnevisionImageProcessor", {"size": _SQUARE, "image_grid_pinpoints": pinpoints}),
        "video": ("LlavaOnevisionVideoProcessor", {"size": _SQUARE}),
        "processor": ("LlavaOnevisionProcessor", {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}),
        "template": _chatml("<image>\n"),
    }


def _idefics3(name: str) -> dict[str, Any]:
    grid = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer = _tokenizer(
        "<end_of_utterance>",
        "<|im_start|>",
        "<video>",
        *grid,
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
    )
    config = getattr(transformers, f"{name}Config")(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0, **_TEXT},
        vision_config={**_PATCHES, **_VISION},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    sizes = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
    family = {
        "config": config,
        "tokenizer": tokenizer,
        "image": (f"{name}ImageProcessor", {**sizes, "do_image_splitting": True}),
        "processor": (f"{name}Processor", {"image_seq_len": 4}),
        "template": _template("<|im_start|>ROLE: ", "<end_of_utterance>\n", "<image>"),
    }
    if name == "SmolVLM":
        sampling = {"fps": 1, "num_frames": 4, "video_sampling": {"max_frames": 4, "fps": 1}}
        family["video"] = ("SmolVLMVideoProcessor", {**sizes, **sampling})
    return family


def _gemma3() -> dict[str, Any]:
    tokenizer = _tokenizer(
        "<eos>",
        "<start_of_turn>",
        "<end_of_turn>",
        bos="<bos>",
        image_token="<image_soft_token>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
    )
    text = {
        "vocab_size": len(tokenizer),
        "head_dim": 8,
        "sliding_window": 16,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = transformers.Gemma3Config(
        text_config={**text, **ids, **_TEXT},
        vision_config=_SIGLIP,
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    start = "{{ bos_token }}"
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("Gemma3ImageProcessor", {"size": _SQUARE, "image_seq_length": 4}),
        "processor": ("Gemma3Processor", {"image_seq_length": 4}),
        "template": _template(
            "<start_of_turn>ROLE\n", "<end_of_turn>\n", "<start_of_image>", start=start, assistant="model"
        ),
    }


def _paligemma() -> dict[str, Any]:
    tokenizer = _tokenizer("<eos>", bos="<bos>", image_token="<image>")
    text = {"model_type": "gemma2", "head_dim": 8, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 8}
    vocabulary = len(tokenizer) + 1024 + 128  # the processor adds location and segmentation tokens
    config = transformers.PaliGemmaConfig(
        text_config={**text, "sliding_window": 2048, "vocab_size": vocabulary, **_TEXT},
        vision_config={"projection_dim": 32, **_SIGLIP},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("SiglipImageProcessor", {"size": _SQUARE, "image_seq_length": 16}),
        "processor": ("PaliGemmaProcessor", {}),
        "template": None,
    }


_BUILDERS = {
    "internvl": _internvl,
    "qwen2_5_vl": lambda: _qwen("2_5"),
    "qwen3_vl": lambda: _qwen("3"),
    "llava": _llava,
    "llava_onevision": _llava_onevision,
    "smolvlm": lambda: _idefics3("SmolVLM"),
    "idefics3": lambda: _idefics3("Idefics3"),
    "gemma3": _gemma3,
    "paligemma": _paligemma,
}


def write(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Builds a family and writes it the way a folder on the hub looks: weights, tokenizer, preprocessor, template."""
    torchvision = importlib.util.find_spec("torchvision") is not None
    parts = _BUILDERS[family]()
    folder.mkdir(parents=True, exist_ok=True)
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = transformers.AutoModelForImageTextToText.from_config(parts["config"])
            with torch.no_grad():  # random initial weights are so small that every token is equally likely
                for name, weight in model.named_parameters():
                    if name.endswith("mm_input_projection_weight"):  # which starts at zero: the model would be blind
                        weight.normal_(0, 0.2)
                    elif weight.ndim > 1 and "embed" not in name:
                        weight.mul_(4)
        model.save_pretrained(folder)
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    parts["tokenizer"].save_pretrained(folder)
    name, settings = parts["image"]
    image = getattr(transformers, name if torchvision else f"{name}Pil")
    image(image_mean=[0.5] * 3, image_std=[0.5] * 3, **settings).save_pretrained(folder)
    if torchvision and "video" in parts:
        name, settings = parts["video"]
        getattr(transformers, name)(**settings).save_pretrained(folder)
    name, settings = parts["processor"]
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": name, **settings}))
    if parts["template"]:
        (folder / "chat_template.jinja").write_text(parts["template"])
    return folder
