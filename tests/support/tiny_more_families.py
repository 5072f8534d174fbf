"""Further families of multimodal models, tiny, as in tiny_families: most share a tokenizer and processor with others.

``BUILDERS`` holds every one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tiny_families
import transformers
from tiny_parts import PATCHES, ROPE, SIGLIP, SQUARE, TEXT, VISION, bpe, chatml, template

Parts = dict[str, Any]
_MOE = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
_CLIP = {"model_type": "clip_vision_model", "projection_dim": 32, **PATCHES, **VISION}
_LLAMA = {"model_type": "llama", **TEXT}
_MISTRAL = {"model_type": "mistral", "head_dim": 8, "sliding_window": None, **TEXT}
_PINS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
_PATCH7 = {"patch_size": 7, "merge_size": 2}
_DYNAMIC = {**_PATCH7, "temporal_patch_size": 2, "size": {"shortest_edge": 28 * 28, "longest_edge": 70 * 70}}
_TOWER = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "patch_size": 7,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 32,
}


def _parts(config: Any, tokenizer: Any, image: Any, processor: Any, chat: str, **more: Any) -> Parts:
    return {"config": config, "tokenizer": tokenizer, "image": image, "processor": processor, "template": chat, **more}


def _config(name: str, **given: Any) -> Any:
    return getattr(transformers, f"{name}Config")(**given)


def _ids(tokenizer: Any, **names: str) -> dict[str, int]:
    return {key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()}


def _qwen(name: str, *, text: Parts | None = None, vision: Parts | None = None, processor: str = "Qwen3VL") -> Parts:
    """Families with the tokenizer, the processor and the positions of Qwen's."""
    parts = tiny_families.BUILDERS["qwen3_vl"]()
    tokenizer = parts["tokenizer"]
    pads = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    ends = {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    own = {"vocab_size": len(tokenizer), "head_dim": 8, "rope_parameters": {**ROPE, "mrope_interleaved": True}}
    tower = {**_TOWER, "num_position_embeddings": 16, **(vision or {})}
    config = _config(
        name, text_config={**own, **TEXT, **(text or {})}, vision_config=tower, **_ids(tokenizer, **pads, **ends)
    )
    chat = parts["template"]
    image = ("Qwen2VLImageProcessor", _DYNAMIC)
    video = (f"{processor}VideoProcessor", {**_PATCH7, "temporal_patch_size": 2})
    return _parts(config, tokenizer, image, (f"{processor}Processor", {}), chat, video=video)


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
    ids = _ids(
        tokenizer,
        image_token_id="<|image|>",
        video_token_id="<|video|>",
        image_start_token_id="<|begin_of_image|>",
        image_end_token_id="<|end_of_image|>",
        video_start_token_id="<|begin_of_video|>",
        video_end_token_id="<|end_of_video|>",
    )
    own = {"vocab_size": len(tokenizer), "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}}
    config = _config(
        name, text_config={**own, **TEXT, **text}, vision_config={**_TOWER, "image_size": 28, **(vision or {})}, **ids
    )
    chat = template("<|ROLE|>\n", "", "<|begin_of_image|><|image|><|end_of_image|>", start="[gMASK]<sop>")
    size = {"shortest_edge": 28 * 28 * 2, "longest_edge": 70 * 70 * 2}
    settings = {**_PATCH7, "temporal_patch_size": 2, "size": size}
    video = (f"{processor}VideoProcessor", settings)
    return _parts(
        config, tokenizer, (f"{image}ImageProcessor", settings), (f"{processor}Processor", {}), chat, video=video
    )


def _glm_moe() -> Parts:
    moe = {"moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1}
    return _glm("Glm4vMoe", "Glm4v", "Glm4v", **moe)


def _llava_like(name: str, image: str, processor: str, text: Parts = _LLAMA, **given: Any) -> Parts:
    """Families with LLaVA's one image token and a CLIP tower."""
    tokenizer = bpe("</s>", bos="<s>", image_token="<image>", video_token="<video>")
    token = tokenizer.convert_tokens_to_ids("<image>")
    own = {"text_config": {**text, "vocab_size": len(tokenizer)}, "vision_config": _CLIP, "image_token_index": token}
    settings = {"size": {"shortest_edge": 28}, "crop_size": SQUARE}
    anyres = {"image_grid_pinpoints": _PINS} if "Next" in name else {}
    config = _config(name, **{**own, "image_seq_length": 16, "vision_feature_layer": -2, **anyres, **given})
    expand = {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    chat = template("ROLE:", "</s>", "<image>\n")
    video = ("LlavaNextVideoVideoProcessor", settings) if "Video" in name else None
    more = {"video": video} if video else {}
    return _parts(config, tokenizer, (image, {**settings, **anyres}), (processor, expand), chat, **more)


def _pixtral(name: str, processor: str = "Pixtral", text: Parts = _MISTRAL, **given: Any) -> Parts:
    """Families with Pixtral's tower, whose pictures are padded to the largest one of a batch."""
    names = ("[INST]", "[/INST]", "[IMG_BREAK]", "[IMG_END]")
    tokenizer = bpe(
        "</s>", *names, bos="<s>", image_token="[IMG]", image_break_token="[IMG_BREAK]", image_end_token="[IMG_END]"
    )
    tower = {"model_type": "pixtral", "image_size": 84, "patch_size": 7, "head_dim": 16, **VISION}
    own = {"text_config": {**text, "vocab_size": len(tokenizer)}, "vision_config": tower}
    config = _config(name, **own, **_ids(tokenizer, image_token_id="[IMG]"), **given)
    merge = {"patch_size": 7, "spatial_merge_size": given.get("spatial_merge_size", 1)}
    image = ("PixtralImageProcessor", {"size": {"longest_edge": 84}, "patch_size": {"height": 7, "width": 7}})
    return _parts(config, tokenizer, image, (f"{processor}Processor", merge), template("[INST]ROLE ", "</s>", "[IMG]"))


def _mistral3() -> Parts:
    return _pixtral("Mistral3", spatial_merge_size=2, tie_word_embeddings=False)


def _lighton_ocr() -> Parts:
    return _pixtral("LightOnOcr", "LightOnOcr", {**TEXT, "model_type": "qwen3", "head_dim": 8}, spatial_merge_size=2)


def _aria() -> Parts:
    tokenizer = bpe("<|im_end|>", "<|im_start|>", image_token="<|img|>", unk_token="<unk>")
    text = {"model_type": "aria_text", "vocab_size": len(tokenizer), **TEXT}
    text |= {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1}
    config = _config(
        "Aria",
        text_config=text,
        vision_config={"model_type": "idefics3_vision", "image_size": 490, "patch_size": 70, **VISION},
        projector_patch_to_query_dict={49: 8, 196: 16},
        image_token_index=tokenizer.image_token_id,
    )
    image = ("AriaImageProcessor", {"max_image_size": 490, "min_image_size": 336})
    processor = ("AriaProcessor", {"size_conversion": {490: 8, 980: 16}})
    return _parts(config, tokenizer, image, processor, chatml("<|img|>"))


def _idefics2() -> Parts:
    marks = {"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"}
    tokenizer = bpe("</s>", "<end_of_utterance>", bos="<s>", **marks)
    resampler = {"hidden_size": 32, "resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2}
    config = _config(
        "Idefics2",
        text_config={**_MISTRAL, "vocab_size": len(tokenizer), "pad_token_id": 0},
        vision_config={"image_size": 56, "patch_size": 7, **VISION},
        perceiver_config={**resampler, "resampler_head_dim": 16, "num_key_value_heads": 2},
        image_token_id=tokenizer.image_token_id,
    )
    image = ("Idefics2ImageProcessor", {"size": {"shortest_edge": 28, "longest_edge": 56}, "do_image_splitting": False})
    chat = template("ROLE:", "<end_of_utterance>\n", "<image>")
    return _parts(config, tokenizer, image, ("Idefics2Processor", {"image_seq_len": 4}), chat)


def _ovis2() -> Parts:
    names = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")
    tokenizer = bpe("<|im_end|>", "<|im_start|>", "<image>", *names, image_token="<IMG_ATOM>")
    config = _config(
        "Ovis2",
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        vision_config={"vocab_size": 40, "hidden_stride": 2, **PATCHES, **VISION},
        image_token_id=tokenizer.image_token_id,
        visual_indicator_token_ids=tokenizer.convert_tokens_to_ids(list(names)),
        vocab_size=len(tokenizer),
        hidden_size=32,
    )
    image = ("Ovis2ImageProcessor", {"size": SQUARE, "crop_to_patches": True, "max_patches": 4})
    return _parts(config, tokenizer, image, ("Ovis2Processor", {"image_seq_length": 4}), chatml("<image>\n"))


def _janus() -> Parts:
    marks = {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"}
    tokenizer = bpe("</s>", bos="<s>", **marks)
    codes = {"embed_dim": 8, "num_embeddings": 16, "base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1}
    config = _config(
        "Janus",
        text_config={**_LLAMA, "vocab_size": len(tokenizer)},
        vision_config={"projection_dim": 32, "num_image_tokens": 16, **PATCHES, **VISION},
        vq_config={**codes, "latent_channels": 32, "num_patches": 4, "projection_dim": 32, "image_token_embed_dim": 32},
        image_token_id=tokenizer.image_token_id,
    )
    image = ("JanusImageProcessor", {"size": SQUARE, "min_size": 14})
    chat = template("ROLE: ", "</s>", "<image_placeholder>\n")
    return _parts(config, tokenizer, image, ("JanusProcessor", {"num_image_tokens": 16}), chat)


def _deepseek_vl(*, hybrid: bool) -> Parts:
    tokenizer = bpe("</s>", bos="<s>", image_token="<image_placeholder>")
    name = "DeepseekVLHybrid" if hybrid else "DeepseekVL"
    sam = {"hidden_size": 32, "output_channels": 16, "image_size": 56, "patch_size": 7, "window_size": 2}
    sam |= {"num_hidden_layers": 2, "num_attention_heads": 2, "global_attn_indexes": [1], "mlp_dim": 64}
    high = {"high_res_vision_config": {"model_type": "sam_vision_model", **sam}} if hybrid else {}
    config = _config(
        name,
        text_config={**_LLAMA, "vocab_size": len(tokenizer)},
        vision_config=SIGLIP,
        image_token_id=tokenizer.image_token_id,
        **high,
    )
    sizes = {"size": SQUARE, "min_size": 14, **({"high_res_size": {"height": 56, "width": 56}} if hybrid else {})}
    chat = template("ROLE: ", "</s>", "<image_placeholder>")
    return _parts(
        config, tokenizer, (f"{name}ImageProcessor", sizes), (f"{name}Processor", {"num_image_tokens": 16}), chat
    )


def _ernie() -> Parts:
    kinds = {"IMAGE": "image", "VIDEO": "video"}
    marks = {f"{low}_token": f"<|{up}_PLACEHOLDER|>" for up, low in kinds.items()}
    marks |= {f"{low}_{end.lower()}_token": f"<|{up}_{end}|>" for up, low in kinds.items() for end in ("START", "END")}
    tokenizer = bpe("</s>", "<|end_of_sentence|>", bos="<s>", **marks)
    moe = {"moe_intermediate_size": [32, 16], "moe_k": 2, "moe_num_experts": 4, "moe_num_shared_experts": 1}
    config = _config(
        "Ernie4_5_VLMoe",
        text_config={
            "vocab_size": len(tokenizer),
            "mlp_layer_types": ["sparse"] * 2,
            "rope_parameters": ROPE,
            **moe,
            **TEXT,
        },
        vision_config={
            **{k: v for k, v in _TOWER.items() if "out" not in k and "temporal" not in k},
            "temporal_merge_size": 2,
        },
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in marks},
    )
    chat = template("ROLE: ", "<|end_of_sentence|>", "Picture:<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>")
    image = ("Ernie4_5_VLMoeImageProcessor", {**_PATCH7, "size": _DYNAMIC["size"]})
    video = ("Ernie4_5_VLMoeVideoProcessor", {**_PATCH7, "draw_on_frames": False})
    return _parts(config, tokenizer, image, ("Ernie4_5_VLMoeProcessor", {}), chat, video=video)


def _paddleocr() -> Parts:
    tokenizer = bpe("</s>", "<|IMAGE_START|>", "<|IMAGE_END|>", bos="<s>", image_token="<|IMAGE_PLACEHOLDER|>")
    config = _config(
        "PaddleOCRVL",
        text_config={"vocab_size": len(tokenizer), "head_dim": 8, "rope_parameters": ROPE, **TEXT},
        vision_config={"spatial_merge_size": 2, **PATCHES, **VISION},
        image_token_id=tokenizer.image_token_id,
        **_ids(tokenizer, vision_start_token_id="<|IMAGE_START|>", vision_end_token_id="<|IMAGE_END|>"),
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 70 * 70}
    image = ("PaddleOCRVLImageProcessor", {**_PATCH7, "temporal_patch_size": 1, "size": size})
    chat = template("ROLE: ", "</s>", "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>")
    return _parts(config, tokenizer, image, ("PaddleOCRVLProcessor", {}), chat)


def _hunyuan() -> Parts:
    marks = {"image_token": "<img>", "image_start_token": "<img_start>", "image_end_token": "<img_end>"}
    tokenizer = bpe("<eos>", "<user>", "<newline>", bos="<bos>", **marks)
    rope = {"rope_type": "default", "rope_theta": 1e4, "xdrope_section": [1, 1, 1, 1]}
    config = _config(
        "HunYuanVL",
        text_config={"vocab_size": len(tokenizer), "head_dim": 8, "rope_parameters": rope, **TEXT},
        vision_config={"out_hidden_size": 32, "text_hidden_size": 32, "patch_size": 7, "max_image_size": 70, **VISION},
        image_token_id=tokenizer.image_token_id,
        **_ids(tokenizer, im_start_id="<img_start>", im_end_id="<img_end>", im_newline_id="<newline>"),
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 70 * 70}
    image = ("HunYuanVLImageProcessor", {**_PATCH7, "temporal_patch_size": 1, "size": size})
    chat = template("<user>ROLE ", "<eos>", "<img_start><img><img_end>")
    return _parts(config, tokenizer, image, ("HunYuanVLProcessor", {}), chat)


def _got_ocr2() -> Parts:
    tokenizer = bpe("<|im_end|>", "<|im_start|>", "<img>", "</img>", image_token="<imgpad>")
    tower = {"hidden_size": 32, "output_channels": 16, "image_size": 64, "patch_size": 4, "window_size": 2}
    tower |= {"num_hidden_layers": 2, "num_attention_heads": 2, "global_attn_indexes": [1], "mlp_dim": 64}
    config = _config(
        "GotOcr2",
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        vision_config=tower,
        image_token_index=tokenizer.image_token_id,
        image_seq_length=16,
    )
    image = ("GotOcr2ImageProcessor", {"size": {"height": 64, "width": 64}})
    return _parts(config, tokenizer, image, ("GotOcr2Processor", {}), chatml("<img><imgpad></img>\n"))


def _video_llama3() -> Parts:
    parts = tiny_families.BUILDERS["qwen3_vl"]()
    tokenizer = parts["tokenizer"]
    config = _config(
        "VideoLlama3",
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        vision_config={"patch_size": 7, **VISION},
        **_ids(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
    )
    image = ("VideoLlama3ImageProcessor", {**_PATCH7, "size": _DYNAMIC["size"]})
    video = ("VideoLlama3VideoProcessor", {**_PATCH7})
    return _parts(config, tokenizer, image, ("VideoLlama3Processor", {}), chatml("<|image_pad|>\n"), video=video)


def _aya_vision() -> Parts:
    names = ("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_LINE_BREAK|>", "<|START_OF_TURN|>", "TILE_GLOBAL", "TILE")
    tokenizer = bpe("<|END_OF_TURN|>", "<image>", *names, bos="<BOS>", image_token="<|IMG_PATCH|>")
    tower = {**SIGLIP, "vision_use_head": False}
    config = _config(
        "AyaVision",
        text_config={
            "model_type": "cohere2",
            "vocab_size": len(tokenizer),
            "logit_scale": 0.25,
            "sliding_window": 16,
            **TEXT,
        },
        vision_config=tower,
        image_token_index=tokenizer.image_token_id,
        downsample_factor=2,
    )
    image = ("GotOcr2ImageProcessor", {"size": SQUARE, "crop_to_patches": True, "max_patches": 4})
    processor = ("AyaVisionProcessor", {"patch_size": 7, "img_size": 28, "downsample_factor": 2})
    return _parts(config, tokenizer, image, processor, template("<|START_OF_TURN|>ROLE ", "<|END_OF_TURN|>", "<image>"))


def _exaone() -> Parts:
    parts = _qwen("Qwen2VL", vision={"embed_dim": 32, "mlp_ratio": 2}, processor="Qwen2VL")
    tokenizer = parts["tokenizer"]
    config = _config(
        "Exaone4_5_",
        text_config={"model_type": "exaone4", "vocab_size": len(tokenizer), "sliding_window": 16, **TEXT},
        vision_config={**_TOWER, "num_key_value_heads": 1, "fullatt_block_indexes": [1], "window_size": 28},
        **_ids(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
    )
    return {**parts, "config": config, "processor": ("Exaone4_5_Processor", {})}


def _gemma4() -> Parts:
    marks = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>", "audio_token": "<|audio|>"}
    tokenizer = bpe(
        "<eos>", "<|turn>", "<turn|>", "<|video|>", bos="<bos>", **marks, boa_token="<|audio>", eoa_token="<audio|>"
    )
    text = {"vocab_size": len(tokenizer), "head_dim": 8, "sliding_window": 16, "hidden_size_per_layer_input": 8}
    text |= {"layer_types": ["sliding_attention", "full_attention"], "vocab_size_per_layer_input": len(tokenizer)}
    tower = {"num_key_value_heads": 2, "head_dim": 16, "pooling_kernel_size": 2, "patch_size": 7, **VISION}
    config = _config(
        "Gemma4",
        text_config={**text, "use_bidirectional_attention": "vision", **TEXT},
        vision_config={**tower, "position_embedding_size": 64},
        image_token_id=tokenizer.image_token_id,
        boi_token_id=tokenizer.boi_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
        audio_config=None,
    )
    image = ("Gemma4ImageProcessor", {"patch_size": 7, "pooling_kernel_size": 2, "max_soft_tokens": 70})
    chat = template("<|turn>ROLE\n", "<turn|>\n", "<|image|>", start="{{ bos_token }}", assistant="model")
    more = {"video": ("Gemma4VideoProcessor", {}), "extractor": ("Gemma4AudioFeatureExtractor", {})}
    return _parts(config, tokenizer, image, ("Gemma4Processor", {"image_seq_length": 70}), chat, **more)


def _shieldgemma2() -> Parts:
    parts = tiny_families.BUILDERS["gemma3"]()
    return {**parts, "config": parts["config"]}


def _llama4() -> Parts:
    names = ("<|header_start|>", "<|header_end|>", "<|image|>", "<|image_start|>", "<|image_end|>", "<|patch|>")
    tokenizer = bpe("<|eot|>", *names, "<|tile_x_separator|>", "<|tile_y_separator|>", bos="<|begin_of_text|>")
    text = {"head_dim": 8, "intermediate_size_mlp": 64, "num_local_experts": 2, "num_experts_per_tok": 1}
    tower = {**VISION, **PATCHES, "intermediate_size": 128, "vision_output_dim": 32}
    config = _config(
        "Llama4",
        text_config={"vocab_size": len(tokenizer), "pad_token_id": 0, **text, **TEXT},
        vision_config={**tower, "projector_input_dim": 32, "projector_output_dim": 32},
        **_ids(
            tokenizer, image_token_index="<|patch|>", boi_token_index="<|image_start|>", eoi_token_index="<|image_end|>"
        ),
    )
    chat = template("<|header_start|>ROLE<|header_end|>\n\n", "<|eot|>", "<|image|>")
    image = ("Llama4ImageProcessor", {"size": SQUARE, "max_patches": 4, "resize_to_max_canvas": False})
    processor = ("Llama4Processor", {"patch_size": 7, "pixel_shuffle_ratio": 0.5})
    return _parts(config, tokenizer, image, processor, chat)


def _molmo2() -> Parts:
    marks = ("image_patch", "im_start", "im_end", "im_col", "frame_start", "frame_end")
    tokens = {f"{name}_token": f"<{name}>" for name in marks}
    tokens |= {
        "image_token": "<|image|>",
        "low_res_token": "<im_low>",
        "low_res_image_start_token": "<low_res_im_start>",
    }
    tokenizer = bpe("<|im_end|>", "<|im_start|>", "<|video|>", **tokens)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "hidden_size": 32}
    tower = {**heads, "intermediate_size": 64, "num_hidden_layers": 3, "image_size": [28, 28], "patch_size": 7}
    config = _config(
        "Molmo2",
        text_config={"vocab_size": len(tokenizer), "additional_vocab_size": 8, "head_dim": 8, **TEXT},
        vision_config={**tower, "num_position_embeddings": 16},
        adapter_config={**heads, "vision_feature_layer": [-1, -2], "intermediate_size": 64, "text_hidden_size": 32},
        image_start_token_id=tokenizer.im_start_token_id,
        low_res_image_start_token_id=tokenizer.low_res_image_start_token_id,
        image_end_token_id=tokenizer.im_end_token_id,
        image_patch_id=tokenizer.image_patch_token_id,
        frame_start_token_id=tokenizer.frame_start_token_id,
        frame_end_token_id=tokenizer.frame_end_token_id,
    )
    image = ("Molmo2ImageProcessor", {"size": SQUARE, "patch_size": 7, "max_crops": 4, "overlap_margins": [1, 1]})
    video = ("Molmo2VideoProcessor", {"size": SQUARE, "patch_size": 7})
    return _parts(config, tokenizer, image, ("Molmo2Processor", {}), chatml("<|image|>"), video=video)


def _perception_lm() -> Parts:
    tokenizer = bpe(
        "<|eot_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        bos="<|begin|>",
        image_token="<|image|>",
        video_token="<|video|>",
    )
    tower = {"architecture": "vit_pe_lang_large_patch14_448", "model_args": {"embed_dim": 32, "img_size": [28, 28]}}
    config = _config(
        "PerceptionLM",
        text_config={**_LLAMA, "vocab_size": len(tokenizer)},
        vision_config={"model_type": "timm_wrapper", **tower},
        **_ids(tokenizer, image_token_id="<|image|>", video_token_id="<|video|>"),
    )
    image = ("PerceptionLMImageProcessor", {"size": SQUARE, "tile_size": 28, "max_num_tiles": 4})
    chat = template("<|start_header_id|>ROLE<|end_header_id|>", "<|eot_id|>", "<|image|>")
    return _parts(config, tokenizer, image, ("PerceptionLMProcessor", {"patch_size": 7}), chat)


def _qianfan() -> Parts:
    parts = tiny_families.BUILDERS["internvl"]()
    tokenizer = parts["tokenizer"]
    config = _config(
        "QianfanOCR",
        text_config={"model_type": "qwen3", "vocab_size": len(tokenizer), "head_dim": 8, **TEXT},
        vision_config={"image_size": [28, 28], "patch_size": [7, 7], **VISION},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
    )
    processor = ("QianfanOCRProcessor", {"image_seq_length": 4, "image_placeholder_token": "<IMG_CONTEXT>"})
    return {**parts, "config": config, "processor": processor}


BUILDERS: dict[str, Callable[[], Parts]] = {
    "qwen2_vl": _qwen2_vl,
    "qwen3_vl_moe": lambda: _qwen("Qwen3VLMoe", text=_MOE, vision={"deepstack_visual_indexes": [0]}),
    "qwen3_5": lambda: _qwen3_5("Qwen3_5"),
    "qwen3_5_moe": lambda: _qwen3_5("Qwen3_5Moe", **_MOE, shared_expert_intermediate_size=32),
    "glm4v": lambda: _glm("Glm4v", "Glm4v", "Glm4v"),
    "glm46v": lambda: _glm("Glm46V", "Glm46V", "Glm46V"),
    "glm4v_moe": _glm_moe,
    "glm_ocr": lambda: _glm("GlmOcr", "Glm46V", "Glm46V", head_dim=8),
    "llava_next": lambda: _llava_like("LlavaNext", "LlavaNextImageProcessor", "LlavaNextProcessor", _MISTRAL),
    "llava_next_video": lambda: _llava_like("LlavaNextVideo", "LlavaNextImageProcessor", "LlavaNextVideoProcessor"),
    "vipllava": lambda: _llava_like("VipLlava", "CLIPImageProcessor", "LlavaProcessor", vision_feature_layers=[-2, -1]),
    "mistral3": _mistral3,
    "lighton_ocr": _lighton_ocr,
    "aria": _aria,
    "idefics2": _idefics2,
    "ovis2": _ovis2,
    "janus": _janus,
    "deepseek_vl": lambda: _deepseek_vl(hybrid=False),
    "deepseek_vl_hybrid": lambda: _deepseek_vl(hybrid=True),
    "ernie4_5_vl_moe": _ernie,
    "paddleocr_vl": _paddleocr,
    "hunyuan_vl": _hunyuan,
    "got_ocr2": _got_ocr2,
    "video_llama_3": _video_llama3,
    "aya_vision": _aya_vision,
    "exaone4_5": _exaone,
    "gemma4": _gemma4,
    "qianfan_ocr": _qianfan,
    "llama4": _llama4,
    "molmo2": _molmo2,
    "perception_lm": _perception_lm,
}
