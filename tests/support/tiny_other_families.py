"""Further families of multimodal models, tiny, as in tiny_families: those with a tokenizer of their own."""

from __future__ import annotations

from collections.abc import Callable

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

_TIMM = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": [28, 28], "patch_size": 7, "ref_feat_shape": [4, 4]}


def _aria() -> Parts:
    tokenizer = bpe("<|im_end|>", "<|im_start|>", image_token="<|img|>", unk_token="<unk>")
    text = {"model_type": "aria_text", "vocab_size": len(tokenizer), **TEXT}
    text |= {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1}
    config = config_of(
        "Aria",
        text_config=text,
        vision_config={"model_type": "idefics3_vision", "image_size": 490, "patch_size": 70, **VISION},
        projector_patch_to_query_dict={49: 8, 196: 16},
        image_token_index=tokenizer.image_token_id,
    )
    image = ("AriaImageProcessor", {"max_image_size": 490, "min_image_size": 336})
    processor = ("AriaProcessor", {"size_conversion": {490: 8, 980: 16}})
    return built(config, tokenizer, image, processor, chatml("<|img|>"))


def _idefics2() -> Parts:
    marks = {"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"}
    tokenizer = bpe("</s>", "<end_of_utterance>", bos="<s>", **marks)
    resampler = {"hidden_size": 32, "resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2}
    config = config_of(
        "Idefics2",
        text_config={**MISTRAL, "vocab_size": len(tokenizer), "pad_token_id": 0},
        vision_config={"image_size": 56, "patch_size": 7, **VISION},
        perceiver_config={**resampler, "resampler_head_dim": 16, "num_key_value_heads": 2},
        image_token_id=tokenizer.image_token_id,
    )
    image = ("Idefics2ImageProcessor", {"size": {"shortest_edge": 28, "longest_edge": 56}, "do_image_splitting": False})
    chat = template("ROLE:", "<end_of_utterance>\n", "<image>")
    return built(config, tokenizer, image, ("Idefics2Processor", {"image_seq_len": 4}), chat)


def _ovis2() -> Parts:
    names = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")
    tokenizer = bpe("<|im_end|>", "<|im_start|>", "<image>", *names, image_token="<IMG_ATOM>")
    config = config_of(
        "Ovis2",
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        vision_config={"vocab_size": 40, "hidden_stride": 2, **PATCHES, **VISION},
        image_token_id=tokenizer.image_token_id,
        visual_indicator_token_ids=tokenizer.convert_tokens_to_ids(list(names)),
        vocab_size=len(tokenizer),
        hidden_size=32,
    )
    image = ("Ovis2ImageProcessor", {"size": SQUARE, "crop_to_patches": True, "max_patches": 4})
    return built(config, tokenizer, image, ("Ovis2Processor", {"image_seq_length": 4}), chatml("<image>\n"))


def _janus() -> Parts:
    marks = {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"}
    tokenizer = bpe("</s>", bos="<s>", **marks)
    codes = {"embed_dim": 8, "num_embeddings": 16, "base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1}
    config = config_of(
        "Janus",
        text_config={**LLAMA, "vocab_size": len(tokenizer)},
        vision_config={"projection_dim": 32, "num_image_tokens": 16, **PATCHES, **VISION},
        vq_config={**codes, "latent_channels": 32, "num_patches": 4, "projection_dim": 32, "image_token_embed_dim": 32},
        image_token_id=tokenizer.image_token_id,
    )
    image = ("JanusImageProcessor", {"size": SQUARE, "min_size": 14})
    chat = template("ROLE: ", "</s>", "<image_placeholder>\n")
    return built(config, tokenizer, image, ("JanusProcessor", {"num_image_tokens": 16}), chat)


def _deepseek_vl(*, hybrid: bool) -> Parts:
    tokenizer = bpe("</s>", bos="<s>", image_token="<image_placeholder>")
    name = "DeepseekVLHybrid" if hybrid else "DeepseekVL"
    sam = {"hidden_size": 32, "output_channels": 16, "image_size": 56, "patch_size": 7, "window_size": 2}
    sam |= {"num_hidden_layers": 2, "num_attention_heads": 2, "global_attn_indexes": [1], "mlp_dim": 64}
    high = {"high_res_vision_config": {"model_type": "sam_vision_model", **sam}} if hybrid else {}
    config = config_of(
        name,
        text_config={**LLAMA, "vocab_size": len(tokenizer)},
        vision_config=SIGLIP,
        image_token_id=tokenizer.image_token_id,
        **high,
    )
    sizes = {"size": SQUARE, "min_size": 14, **({"high_res_size": {"height": 56, "width": 56}} if hybrid else {})}
    chat = template("ROLE: ", "</s>", "<image_placeholder>")
    return built(
        config, tokenizer, (f"{name}ImageProcessor", sizes), (f"{name}Processor", {"num_image_tokens": 16}), chat
    )


def _ernie() -> Parts:
    kinds = {"IMAGE": "image", "VIDEO": "video"}
    marks = {f"{low}_token": f"<|{up}_PLACEHOLDER|>" for up, low in kinds.items()}
    marks |= {f"{low}_{end.lower()}_token": f"<|{up}_{end}|>" for up, low in kinds.items() for end in ("START", "END")}
    tokenizer = bpe("</s>", "<|end_of_sentence|>", bos="<s>", **marks)
    moe = {"moe_intermediate_size": [32, 16], "moe_k": 2, "moe_num_experts": 4, "moe_num_shared_experts": 1}
    config = config_of(
        "Ernie4_5_VLMoe",
        text_config={
            "vocab_size": len(tokenizer),
            "mlp_layer_types": ["sparse"] * 2,
            "rope_parameters": ROPE,
            **moe,
            **TEXT,
        },
        vision_config={
            **{k: v for k, v in TOWER.items() if "out" not in k and "temporal" not in k},
            "temporal_merge_size": 2,
        },
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in marks},
    )
    chat = template("ROLE: ", "<|end_of_sentence|>", "Picture:<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>")
    image = ("Ernie4_5_VLMoeImageProcessor", {**PATCH7, "size": DYNAMIC["size"]})
    video = ("Ernie4_5_VLMoeVideoProcessor", {**PATCH7, "draw_on_frames": False})
    return built(config, tokenizer, image, ("Ernie4_5_VLMoeProcessor", {}), chat, video=video)


def _paddleocr() -> Parts:
    tokenizer = bpe("</s>", "<|IMAGE_START|>", "<|IMAGE_END|>", bos="<s>", image_token="<|IMAGE_PLACEHOLDER|>")
    config = config_of(
        "PaddleOCRVL",
        text_config={"vocab_size": len(tokenizer), "head_dim": 8, "rope_parameters": ROPE, **TEXT},
        vision_config={"spatial_merge_size": 2, **PATCHES, **VISION},
        image_token_id=tokenizer.image_token_id,
        **ids_of(tokenizer, vision_start_token_id="<|IMAGE_START|>", vision_end_token_id="<|IMAGE_END|>"),
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 70 * 70}
    image = ("PaddleOCRVLImageProcessor", {**PATCH7, "temporal_patch_size": 1, "size": size})
    chat = template("ROLE: ", "</s>", "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>")
    return built(config, tokenizer, image, ("PaddleOCRVLProcessor", {}), chat)


def _hunyuan() -> Parts:
    marks = {"image_token": "<img>", "image_start_token": "<img_start>", "image_end_token": "<img_end>"}
    tokenizer = bpe("<eos>", "<user>", "<newline>", bos="<bos>", **marks)
    rope = {"rope_type": "default", "rope_theta": 1e4, "xdrope_section": [1, 1, 1, 1]}
    config = config_of(
        "HunYuanVL",
        text_config={"vocab_size": len(tokenizer), "head_dim": 8, "rope_parameters": rope, **TEXT},
        vision_config={"out_hidden_size": 32, "text_hidden_size": 32, "patch_size": 7, "max_image_size": 70, **VISION},
        image_token_id=tokenizer.image_token_id,
        **ids_of(tokenizer, im_start_id="<img_start>", im_end_id="<img_end>", im_newline_id="<newline>"),
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 70 * 70}
    image = ("HunYuanVLImageProcessor", {**PATCH7, "temporal_patch_size": 1, "size": size})
    chat = template("<user>ROLE ", "<eos>", "<img_start><img><img_end>")
    return built(config, tokenizer, image, ("HunYuanVLProcessor", {}), chat)


def _got_ocr2() -> Parts:
    tokenizer = bpe("<|im_end|>", "<|im_start|>", "<img>", "</img>", image_token="<imgpad>")
    tower = {"hidden_size": 32, "output_channels": 16, "image_size": 64, "patch_size": 4, "window_size": 2}
    tower |= {"num_hidden_layers": 2, "num_attention_heads": 2, "global_attn_indexes": [1], "mlp_dim": 64}
    config = config_of(
        "GotOcr2",
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        vision_config=tower,
        image_token_index=tokenizer.image_token_id,
        image_seq_length=16,
    )
    image = ("GotOcr2ImageProcessor", {"size": {"height": 64, "width": 64}})
    return built(config, tokenizer, image, ("GotOcr2Processor", {}), chatml("<img><imgpad></img>\n"))


def _aya_vision() -> Parts:
    names = ("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_LINE_BREAK|>", "<|START_OF_TURN|>", "TILE_GLOBAL", "TILE")
    tokenizer = bpe("<|END_OF_TURN|>", "<image>", *names, bos="<BOS>", image_token="<|IMG_PATCH|>")
    tower = {**SIGLIP, "vision_use_head": False}
    config = config_of(
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
    return built(config, tokenizer, image, processor, template("<|START_OF_TURN|>ROLE ", "<|END_OF_TURN|>", "<image>"))


def _gemma4() -> Parts:
    marks = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>", "audio_token": "<|audio|>"}
    tokenizer = bpe(
        "<eos>", "<|turn>", "<turn|>", "<|video|>", bos="<bos>", **marks, boa_token="<|audio>", eoa_token="<audio|>"
    )
    text = {"vocab_size": len(tokenizer), "head_dim": 8, "sliding_window": 16, "hidden_size_per_layer_input": 8}
    text |= {"layer_types": ["sliding_attention", "full_attention"], "vocab_size_per_layer_input": len(tokenizer)}
    tower = {"num_key_value_heads": 2, "head_dim": 16, "pooling_kernel_size": 2, "patch_size": 7, **VISION}
    config = config_of(
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
    return built(config, tokenizer, image, ("Gemma4Processor", {"image_seq_length": 70}), chat, **more)


def _llama4() -> Parts:
    names = ("<|header_start|>", "<|header_end|>", "<|image|>", "<|image_start|>", "<|image_end|>", "<|patch|>")
    tokenizer = bpe("<|eot|>", *names, "<|tile_x_separator|>", "<|tile_y_separator|>", bos="<|begin_of_text|>")
    text = {"head_dim": 8, "intermediate_size_mlp": 64, "num_local_experts": 2, "num_experts_per_tok": 1}
    tower = {**VISION, **PATCHES, "intermediate_size": 128, "vision_output_dim": 32}
    config = config_of(
        "Llama4",
        text_config={"vocab_size": len(tokenizer), "pad_token_id": 0, **text, **TEXT},
        vision_config={**tower, "projector_input_dim": 32, "projector_output_dim": 32},
        **ids_of(
            tokenizer, image_token_index="<|patch|>", boi_token_index="<|image_start|>", eoi_token_index="<|image_end|>"
        ),
    )
    chat = template("<|header_start|>ROLE<|header_end|>\n\n", "<|eot|>", "<|image|>")
    image = ("Llama4ImageProcessor", {"size": SQUARE, "max_patches": 4, "resize_to_max_canvas": False})
    processor = ("Llama4Processor", {"patch_size": 7, "pixel_shuffle_ratio": 0.5})
    return built(config, tokenizer, image, processor, chat)


def _molmo2() -> Parts:
    marks = ("im_patch", "im_start", "im_end", "im_col", "frame_start", "frame_end")
    tokens = {f"{name}_token": f"<{name}>" for name in marks}
    tokens |= {
        "image_token": "<|image|>",
        "low_res_token": "<im_low>",
        "low_res_image_start_token": "<low_res_im_start>",
    }
    tokenizer = bpe("<|im_end|>", "<|im_start|>", "<|video|>", **tokens)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "hidden_size": 32}
    tower = {**heads, "intermediate_size": 64, "num_hidden_layers": 3, "image_size": [28, 28], "patch_size": 7}
    config = config_of(
        "Molmo2",
        text_config={"vocab_size": len(tokenizer), "additional_vocab_size": 8, "head_dim": 8, **TEXT},
        vision_config={**tower, "num_position_embeddings": 16},
        adapter_config={**heads, "vision_feature_layer": [-1, -2], "intermediate_size": 64, "text_hidden_size": 32},
        image_start_token_id=tokenizer.im_start_token_id,
        low_res_image_start_token_id=tokenizer.low_res_image_start_token_id,
        image_end_token_id=tokenizer.im_end_token_id,
        image_patch_id=tokenizer.im_patch_token_id,
        frame_start_token_id=tokenizer.frame_start_token_id,
        frame_end_token_id=tokenizer.frame_end_token_id,
    )
    image = ("Molmo2ImageProcessor", {"size": SQUARE, "patch_size": 7, "max_crops": 4, "overlap_margins": [1, 1]})
    video = ("Molmo2VideoProcessor", {"size": SQUARE, "patch_size": 7})
    return built(config, tokenizer, image, ("Molmo2Processor", {}), chatml("<|image|>"), video=video)


def _perception_lm() -> Parts:
    tokenizer = bpe(
        "<|eot_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        bos="<|begin|>",
        image_token="<|image|>",
        video_token="<|video|>",
    )
    tower = {"architecture": "vit_pe_lang_large_patch14_448", "model_args": _TIMM}
    config = config_of(
        "PerceptionLM",
        text_config={**LLAMA, "vocab_size": len(tokenizer)},
        vision_config={"model_type": "timm_wrapper", **tower},
        **ids_of(tokenizer, image_token_id="<|image|>", video_token_id="<|video|>"),
    )
    image = ("PerceptionLMImageProcessor", {"size": SQUARE, "tile_size": 28, "max_num_tiles": 4})
    chat = template("<|start_header_id|>ROLE<|end_header_id|>", "<|eot_id|>", "<|image|>")
    return built(config, tokenizer, image, ("PerceptionLMProcessor", {"patch_size": 7, "pooling_ratio": 1}), chat)


BUILDERS: dict[str, Callable[[], Parts]] = {
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
    "aya_vision": _aya_vision,
    "gemma4": _gemma4,
    "llama4": _llama4,
    "molmo2": _molmo2,
    "perception_lm": _perception_lm,
}
