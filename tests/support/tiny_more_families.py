"""Further families of multimodal models, tiny, as in tiny_families: those that share a tokenizer and processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tiny_families
from tiny_parts import (
    DYNAMIC,
    LLAMA,
    MISTRAL,
    PATCH7,
    PATCHES,
    ROPE,
    SIGLIP,
    SQUARE,
    TEXT,
    TOWER,
    VISION,
    Parts,
    bpe,
    built,
    chatml,
    config_of,
    ids_of,
    template,
)

_MOE = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
_CLIP = {"model_type": "clip_vision_model", "projection_dim": 32, **PATCHES, **VISION}
_PINS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]


def _qwen(name: str, *, text: Parts | None = None, vision: Parts | None = None, processor: str = "Qwen3VL") -> Parts:
    """Families with the tokenizer, the processor and the positions of Qwen's."""
    parts = tiny_families.BUILDERS["qwen3_vl"]()
    tokenizer = parts["tokenizer"]
    pads = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    ends = {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    own = {"vocab_size": len(tokenizer) + 8, "head_dim": 8, "rope_parameters": {**ROPE, "mrope_interleaved": True}}
    tower = {**TOWER, "num_position_embeddings": 16, **(vision or {})}
    config = config_of(
        name, text_config={**own, **TEXT, **(text or {})}, vision_config=tower, **ids_of(tokenizer, **pads, **ends)
    )
    chat = parts["template"]
    image = ("Qwen2VLImageProcessor", DYNAMIC)
    video = (f"{processor}VideoProcessor", {**PATCH7, "temporal_patch_size": 2})
    return built(config, tokenizer, image, (f"{processor}Processor", {}), chat, video=video)


def _qwen3_5(name: str, **text: Any) -> Parts:
    kinds = ["linear_attention", "full_attention"]
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
    rope = {**ROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
    own = {"layer_types": kinds, **linear, "linear_value_head_dim": 8, "rope_parameters": rope, **text}
    return _qwen(name, text=own)


def _qwen2_vl() -> Parts:
    tower = {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
    parts = _qwen("Qwen2VL", vision=tower, processor="Qwen2VL")
    return {**parts, "config": _without(parts["config"])}


def _without(config: Any) -> Any:
    config.text_config.rope_parameters = dict(ROPE)
    return config


def _glm(name: str, image: str, processor: str, vision: Parts | None = None, **text: Any) -> Parts:
    names = ("<|system|>", "<|user|>", "<|assistant|>", "[gMASK]", "<sop>", "<|begin_of_video|>", "<|end_of_video|>")
    marks = {"image_token": "<|image|>", "video_token": "<|video|>"}
    tokenizer = bpe("<|endoftext|>", *names, "<|begin_of_image|>", "<|end_of_image|>", **marks)
    ids = ids_of(
        tokenizer,
        image_token_id="<|image|>",
        video_token_id="<|video|>",
        image_start_token_id="<|begin_of_image|>",
        image_end_token_id="<|end_of_image|>",
        video_start_token_id="<|begin_of_video|>",
        video_end_token_id="<|end_of_video|>",
    )
    own = {"vocab_size": len(tokenizer), "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}}
    config = config_of(
        name, text_config={**own, **TEXT, **text}, vision_config={**TOWER, "image_size": 28, **(vision or {})}, **ids
    )
    chat = template("<|ROLE|>\n", "", "<|begin_of_image|><|image|><|end_of_image|>", start="[gMASK]<sop>")
    size = {"shortest_edge": 28 * 28 * 2, "longest_edge": 70 * 70 * 2}
    settings = {**PATCH7, "temporal_patch_size": 2, "size": size}
    video = (f"{processor}VideoProcessor", settings)
    return built(
        config, tokenizer, (f"{image}ImageProcessor", settings), (f"{processor}Processor", {}), chat, video=video
    )


def _glm_moe() -> Parts:
    moe = {"moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1}
    return _glm("Glm4vMoe", "Glm4v", "Glm4v", **moe)


def _llava_like(name: str, image: str, processor: str, text: Parts = LLAMA, **given: Any) -> Parts:
    """Families with LLaVA's one image token and a CLIP tower."""
    tokenizer = bpe("</s>", bos="<s>", image_token="<image>", video_token="<video>")
    token = tokenizer.convert_tokens_to_ids("<image>")
    own = {"text_config": {**text, "vocab_size": len(tokenizer)}, "vision_config": _CLIP, "image_token_index": token}
    settings = {"size": {"shortest_edge": 28}, "crop_size": SQUARE}
    anyres = {"image_grid_pinpoints": _PINS} if "Next" in name else {}
    config = config_of(name, **{**own, "image_seq_length": 16, "vision_feature_layer": -2, **anyres, **given})
    expand = {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    chat = template("ROLE:", "</s>", "<image>\n")
    video = ("LlavaNextVideoVideoProcessor", settings) if "Video" in name else None
    more = {"video": video} if video else {}
    return built(config, tokenizer, (image, {**settings, **anyres}), (processor, expand), chat, **more)


def _pixtral(name: str, processor: str = "Pixtral", text: Parts = MISTRAL, **given: Any) -> Parts:
    """Families with Pixtral's tower, whose pictures are padded to the largest one of a batch."""
    names = ("[INST]", "[/INST]", "[IMG_BREAK]", "[IMG_END]")
    tokenizer = bpe(
        "</s>", *names, bos="<s>", image_token="[IMG]", image_break_token="[IMG_BREAK]", image_end_token="[IMG_END]"
    )
    tower = {"model_type": "pixtral", "image_size": 84, "patch_size": 7, "head_dim": 16, **VISION}
    own = {"text_config": {**text, "vocab_size": len(tokenizer)}, "vision_config": tower}
    config = config_of(name, **own, **ids_of(tokenizer, image_token_id="[IMG]"), **given)
    merge = {"patch_size": 7, "spatial_merge_size": given.get("spatial_merge_size", 1)}
    image = ("PixtralImageProcessor", {"size": {"longest_edge": 84}, "patch_size": {"height": 7, "width": 7}})
    return built(config, tokenizer, image, (f"{processor}Processor", merge), template("[INST]ROLE ", "</s>", "[IMG]"))


def _mistral3() -> Parts:
    return _pixtral("Mistral3", spatial_merge_size=2, tie_word_embeddings=False)


def _lighton_ocr() -> Parts:
    return _pixtral("LightOnOcr", "LightOnOcr", {**TEXT, "model_type": "qwen3", "head_dim": 8}, spatial_merge_size=2)


def _video_llama3() -> Parts:
    parts = tiny_families.BUILDERS["qwen3_vl"]()
    tokenizer = parts["tokenizer"]
    config = config_of(
        "VideoLlama3",
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        vision_config={"patch_size": 7, **VISION},
        **ids_of(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
    )
    image = ("VideoLlama3ImageProcessor", {**PATCH7, "size": DYNAMIC["size"]})
    video = ("VideoLlama3VideoProcessor", {**PATCH7})
    return built(config, tokenizer, image, ("VideoLlama3Processor", {}), chatml("<|image_pad|>\n"), video=video)


def _exaone() -> Parts:
    parts = _qwen("Qwen2VL", vision={"embed_dim": 32, "mlp_ratio": 2}, processor="Qwen2VL")
    tokenizer = parts["tokenizer"]
    config = config_of(
        "Exaone4_5_",
        text_config={"model_type": "exaone4", "vocab_size": len(tokenizer), "sliding_window": 16, **TEXT},
        vision_config={**TOWER, "num_key_value_heads": 1, "fullatt_block_indexes": [1], "window_size": 28},
        **ids_of(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
    )
    return {**parts, "config": config, "processor": ("Exaone4_5_Processor", {})}


def _omni(name: str, processor: str, *, text: Parts, vision: Parts, audio: Parts) -> Parts:
    """The part of Qwen's omni models that thinks; its ear stays closed."""
    eyes = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "audio_token": "<|audio_pad|>"}
    ends = {f"{kind}_{end}_token": f"<|{kind}_{end}|>" for kind in ("vision", "audio") for end in ("bos", "eos")}
    tokenizer = bpe("<|im_end|>", "<|im_start|>", **eyes, **ends)
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("image", "video", "audio")}
    for kind in ("vision", "audio"):
        ids[f"{kind}_start_token_id"] = getattr(tokenizer, f"{kind}_bos_token_id")
        ids[f"{kind}_end_token_id"] = getattr(tokenizer, f"{kind}_eos_token_id")
    own = {"vocab_size": len(tokenizer), "rope_parameters": dict(ROPE), **TEXT, **text}
    config = config_of(name, text_config=own, vision_config={**TOWER, **vision}, audio_config=audio, **ids)
    more = {"video": ("Qwen2VLVideoProcessor", DYNAMIC), "extractor": ("WhisperFeatureExtractor", {})}
    chat = chatml("<|vision_bos|><|image_pad|><|vision_eos|>")
    return built(config, tokenizer, ("Qwen2VLImageProcessor", DYNAMIC), (processor, {}), chat, **more)


def _qwen2_5_omni() -> Parts:
    ear = {"num_mel_bins": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "d_model": 32}
    vision = {"fullatt_block_indexes": [1], "window_size": 28}
    return _omni("Qwen2_5OmniThinker", "Qwen2_5OmniProcessor", text={}, vision=vision, audio={**ear, "output_dim": 32})


def _qwen3_omni() -> Parts:
    ear = {"num_mel_bins": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "d_model": 32}
    vision = {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    text = {**_MOE, "head_dim": 8}
    audio = {**ear, "output_dim": 32, "downsample_hidden_size": 16}
    return _omni("Qwen3OmniMoeThinker", "Qwen3OmniMoeProcessor", text=text, vision=vision, audio=audio)


def _video_llava() -> Parts:
    parts = _llava_like("VideoLlava", "VideoLlavaImageProcessor", "VideoLlavaProcessor")
    return {**parts, "video": ("VideoLlavaVideoProcessor", parts["image"][1])}


def _cohere2_vision() -> Parts:
    ends = {"boi_token": "<|START_OF_IMG|>", "eoi_token": "<|END_OF_IMG|>", "img_line_break_token": "<|LINE|>"}
    tokenizer = bpe("<|END|>", "<|START|>", bos="<BOS>", image_token="<|IMG_PATCH|>", **ends)
    config = config_of(
        "Cohere2Vision",
        text_config={"model_type": "cohere2", "vocab_size": len(tokenizer), "sliding_window": 16, **TEXT},
        vision_config=SIGLIP,
        image_token_id=tokenizer.image_token_id,
        alignment_intermediate_size=64,
    )
    image = ("Cohere2VisionImageProcessor", {"size": SQUARE, "max_patches": 4, "patch_size": 2})
    chat = template("<|START|>ROLE ", "<|END|>", "<|IMG_PATCH|>")
    return built(config, tokenizer, image, ("Cohere2VisionProcessor", {}), chat)


def _lfm2_vl() -> Parts:
    marks = {f"image_{name}_token": f"<|image_{name}|>" for name in ("start", "end", "thumbnail")}
    grid = [f"<|img_row_{row}_col_{column}|>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer = bpe("<|im_end|>", "<|im_start|>", *grid, image_token="<image>", **marks)
    text = {"model_type": "lfm2", "vocab_size": len(tokenizer), "layer_types": ["conv", "full_attention"], **TEXT}
    tower = {
        "model_type": "siglip2_vision_model",
        "patch_size": 7,
        "num_patches": 16,
        "vision_use_head": False,
        **VISION,
    }
    config = config_of(
        "Lfm2Vl",
        text_config={**text, "block_auto_adjust_ff_dim": False},
        vision_config={**tower, "num_patches": 16},
        image_token_id=tokenizer.image_token_id,
        projector_hidden_size=32,
    )
    sizes = {"encoder_patch_size": 7, "tile_size": 28, "min_tiles": 2, "max_tiles": 4, "max_image_tokens": 4}
    image = ("Lfm2VlImageProcessor", {**sizes, "min_image_tokens": 1, "max_num_patches": 16})
    return built(config, tokenizer, image, ("Lfm2VlProcessor", {}), chatml("<image>"))


def _qianfan() -> Parts:
    parts = tiny_families.BUILDERS["internvl"]()
    tokenizer = parts["tokenizer"]
    config = config_of(
        "QianfanOCR",
        text_config={"model_type": "qwen3", "vocab_size": len(tokenizer), "head_dim": 8, **TEXT},
        vision_config={"image_size": [28, 28], "patch_size": [7, 7], **VISION},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
    )
    processor = ("QianfanOCRProcessor", {"image_seq_length": 4, "image_placeholder_token": "<IMG_CONTEXT>"})
    return {**parts, "config": config, "processor": processor}


def _chameleon() -> Parts:
    tokenizer = bpe("</s>", bos="<s>", image_token="<image>")
    codes = {
        "embed_dim": 8,
        "num_embeddings": 16,
        "base_channels": 32,
        "channel_multiplier": [1, 1],
        "num_res_blocks": 1,
    }
    names = [f"IMGIMG{'ABCDEFGHIJKLMNOP'[code]}Z" for code in range(16)]
    known = {**{name: 300 + code for code, name in enumerate(names)}, "<image>": tokenizer.image_token_id}
    config = config_of(
        "Chameleon",
        vq_config={**codes, "num_res_blocks": 1, "latent_channels": 32, "resolution": 28},
        vocabulary_map=known,
        vocab_size=len(tokenizer),
        **TEXT,
    )
    image = ("ChameleonImageProcessor", {"size": {"shortest_edge": 28}, "crop_size": SQUARE})
    chat = template("ROLE: ", "</s>", "<image>")
    return built(config, tokenizer, image, ("ChameleonProcessor", {"image_seq_length": 196}), chat)


def _cohere_compass() -> Parts:
    ends = {"vision_start_token": "<|VISION_START|>", "vision_end_token": "<|VISION_END|>"}
    eyes = {"image_token": "<|IMAGE_PAD|>", "video_token": "<|VIDEO_PAD|>"}
    tokenizer = bpe("<|im_end|>", "<|im_start|>", **eyes, **ends)
    rope = {kind: dict(ROPE) for kind in ("full_attention", "sliding_attention")}
    text = {"vocab_size": len(tokenizer), "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
    config = config_of(
        "CohereCompass",
        text_config={**text, **TEXT, "rope_parameters": rope},
        vision_config={**TOWER, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in (*eyes, *ends)},
    )
    image = ("CohereCompassImageProcessor", DYNAMIC)
    chat = chatml("<|VISION_START|><|IMAGE_PAD|><|VISION_END|>")
    more = {"video": ("Qwen3VLVideoProcessor", {**PATCH7, "temporal_patch_size": 2})}
    return built(config, tokenizer, image, ("CohereCompassProcessor", {}), chat, **more)


BUILDERS: dict[str, Callable[[], Parts]] = {
    "qwen2_vl": _qwen2_vl,
    "qwen3_vl_moe": lambda: _qwen("Qwen3VLMoe", text=_MOE, vision={"deepstack_visual_indexes": [0]}),
    "qwen3_5": lambda: _qwen3_5("Qwen3_5"),
    "qwen3_5_moe": lambda: _qwen3_5("Qwen3_5Moe", **_MOE, shared_expert_intermediate_size=32),
    "glm4v": lambda: _glm("Glm4v", "Glm4v", "Glm4v"),
    "glm46v": lambda: _glm("Glm46V", "Glm46V", "Glm46V"),
    "glm4v_moe": _glm_moe,
    "glm_ocr": lambda: _glm("GlmOcr", "Glm46V", "Glm46V", head_dim=8),
    "llava_next": lambda: _llava_like("LlavaNext", "LlavaNextImageProcessor", "LlavaNextProcessor", MISTRAL),
    "llava_next_video": lambda: _llava_like("LlavaNextVideo", "LlavaNextImageProcessor", "LlavaNextVideoProcessor"),
    "vipllava": lambda: _llava_like("VipLlava", "CLIPImageProcessor", "LlavaProcessor", vision_feature_layers=[-2, -1]),
    "mistral3": _mistral3,
    "lighton_ocr": _lighton_ocr,
    "video_llama_3": _video_llama3,
    "exaone4_5": _exaone,
    "qianfan_ocr": _qianfan,
    "qwen2_5_omni_thinker": _qwen2_5_omni,
    "qwen3_omni_moe_thinker": _qwen3_omni,
    "video_llava": _video_llava,
    "cohere2_vision": _cohere2_vision,
    "lfm2_vl": _lfm2_vl,
    "cosmos3_omni": lambda: _qwen("Cosmos3Omni", vision={"deepstack_visual_indexes": [0]}),
    "glmga": lambda: _glm("Glmga", "Glmga", "Glm46V"),
    "chameleon": _chameleon,
    "cohere_compass": _cohere_compass,
}
