"""Nine families of multimodal models, tiny: the configuration, tokenizer, processor and template of each."""

from __future__ import annotations

from typing import Any

import transformers
from tiny_parts import PATCHES, ROPE, SIGLIP, SQUARE, TEXT, TOWER, VISION, bpe, chatml, template


def _internvl() -> dict[str, Any]:
    tokenizer = bpe(
        "<|im_end|>",
        "<|im_start|>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), "tie_word_embeddings": True, **TEXT},
        vision_config={"image_size": [28, 28], "patch_size": [7, 7], **VISION},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("GotOcr2ImageProcessor", {"size": SQUARE, "crop_to_patches": True, "max_patches": 4}),
        "video": ("InternVLVideoProcessor", {"size": SQUARE}),
        "processor": ("InternVLProcessor", {"image_seq_length": 4}),
        "template": chatml("<IMG_CONTEXT>\n"),
    }


def _qwen(version: str) -> dict[str, Any]:
    tokenizer = bpe(
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
    text = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, **TEXT}
    vision = dict(TOWER)
    if version == "2_5":
        config = transformers.Qwen2_5_VLConfig(
            text_config={**text, "rope_parameters": ROPE},
            vision_config={**vision, "fullatt_block_indexes": [1], "window_size": 28},
            **ids,
        )
    else:
        config = transformers.Qwen3VLConfig(
            text_config={**text, "head_dim": 8, "rope_parameters": {**ROPE, "mrope_interleaved": True}},
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
        "template": chatml("<|vision_start|><|image_pad|><|vision_end|>"),
    }


def _llava() -> dict[str, Any]:
    tokenizer = bpe("</s>", bos="<s>", image_token="<image>")
    config = transformers.LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **TEXT},
        vision_config={"model_type": "clip_vision_model", "projection_dim": 32, **PATCHES, **VISION},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-2,
    )
    settings = {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("CLIPImageProcessor", {"size": {"shortest_edge": 28}, "crop_size": SQUARE}),
        "processor": ("LlavaProcessor", settings),
        "template": template("ROLE:", "</s>", "<image>\n"),
    }


def _llava_onevision() -> dict[str, Any]:
    tokenizer = bpe("<|im_end|>", "<|im_start|>", image_token="<image>", video_token="<video>")
    pinpoints = [[28, 28], [28, 56], [56, 28], [56, 56]]
    config = transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), "tie_word_embeddings": True, **TEXT},
        vision_config=SIGLIP,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
        tie_word_embeddings=True,
    )
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("LlavaOnevisionImageProcessor", {"size": SQUARE, "image_grid_pinpoints": pinpoints}),
        "video": ("LlavaOnevisionVideoProcessor", {"size": SQUARE}),
        "processor": ("LlavaOnevisionProcessor", {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}),
        "template": chatml("<image>\n"),
    }


def _idefics3(name: str) -> dict[str, Any]:
    grid = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer = bpe(
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
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0, **TEXT},
        vision_config={**PATCHES, **VISION},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    sizes = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
    family = {
        "config": config,
        "tokenizer": tokenizer,
        "image": (f"{name}ImageProcessor", {**sizes, "do_image_splitting": True}),
        "processor": (f"{name}Processor", {"image_seq_len": 4}),
        "template": template("<|im_start|>ROLE: ", "<end_of_utterance>\n", "<image>"),
    }
    if name == "SmolVLM":
        sampling = {"fps": 1, "num_frames": 4, "video_sampling": {"max_frames": 4, "fps": 1}}
        family["video"] = ("SmolVLMVideoProcessor", {**sizes, **sampling})
    return family


def _gemma3() -> dict[str, Any]:
    tokenizer = bpe(
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
        text_config={**text, **ids, **TEXT},
        vision_config=SIGLIP,
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    start = "{{ bos_token }}"
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("Gemma3ImageProcessor", {"size": SQUARE, "image_seq_length": 4}),
        "processor": ("Gemma3Processor", {"image_seq_length": 4}),
        "template": template(
            "<start_of_turn>ROLE\n", "<end_of_turn>\n", "<start_of_image>", start=start, assistant="model"
        ),
    }


def _paligemma() -> dict[str, Any]:
    tokenizer = bpe("<eos>", bos="<bos>", image_token="<image>")
    text = {"model_type": "gemma2", "head_dim": 8, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 8}
    vocabulary = len(tokenizer) + 1024 + 128  # the processor adds location and segmentation tokens
    config = transformers.PaliGemmaConfig(
        text_config={**text, "sliding_window": 2048, "vocab_size": vocabulary, **TEXT},
        vision_config={"projection_dim": 32, **SIGLIP},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    return {
        "config": config,
        "tokenizer": tokenizer,
        "image": ("SiglipImageProcessor", {"size": SQUARE, "image_seq_length": 16}),
        "processor": ("PaliGemmaProcessor", {}),
        "template": None,
    }


BUILDERS = {
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
