"""Further families of multimodal models, tiny, as in tiny_families: those that cut pictures into a grid of patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tiny_families
from tiny_parts import (
    DYNAMIC,
    PATCH7,
    ROPE,
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

_GRID = {"patch_size": 7, **VISION}
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}
_MOE = {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
_LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
_INDEXER = {"index_topk": 16, "index_head_dim": 8, "index_n_heads": 16}  # with few heads, scores of 0 tie
_QWEN_VIDEO = ("Qwen3VLVideoProcessor", {**PATCH7, "temporal_patch_size": 2})


def _qwen_tokens() -> tuple[Any, Parts, str]:
    """Qwen's tokenizer, its ids of pictures and its template."""
    parts = tiny_families.BUILDERS["qwen3_vl"]()
    tokenizer = parts["tokenizer"]
    marks = ("image_pad", "video_pad", "vision_start", "vision_end")
    ids = {f"{mark.removesuffix('_pad')}_token_id": f"<|{mark}|>" for mark in marks}
    return tokenizer, ids_of(tokenizer, **ids), parts["template"]


def _cosmos3_edge() -> Parts:
    tokenizer, ids, chat = _qwen_tokens()
    config = config_of(
        "Cosmos3Edge",
        text_config={"vocab_size": len(tokenizer) + 8, "head_dim": 8, "rope_parameters": ROPE, **TEXT},
        vision_config={**_GRID, "num_patches": 16},
        projector_hidden_size=32,
        **ids,
    )
    image = ("Cosmos3EdgeImageProcessor", {**DYNAMIC, "temporal_patch_size": 1})
    video = ("Cosmos3EdgeVideoProcessor", PATCH7)
    return built(config, tokenizer, image, ("Cosmos3EdgeProcessor", {}), chat, video=video)


def _qwen4_exp() -> Parts:
    tokenizer, ids, chat = _qwen_tokens()
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
    indexer = {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 16}
    grams = {"ple_layer_ids": [1], "ple_embed_dim": 32, "heads_per_ngram": 2, "ngram_vocab_size_base": 64}
    moe = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4}
    text = {
        "vocab_size": len(tokenizer) + 8,
        "head_dim": 8,
        "layer_types": ["linear_attention", "indexed_attention"],
        "rope_parameters": {**ROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0},
        "linear_value_head_dim": 8,
        "indexer_compress_ratio": 4,
        "num_experts_per_tok": 2,
        "hc_count": 2,
        "hc_lowrank": 8,
        "split_ngram_parts": 1,
        "make_ngram_vocab_size_divisible_by": 8,
        "eos_token_id": tokenizer.eos_token_id,
    }
    tower = {**TOWER, "num_position_embeddings": 16}
    own = {**{name: value for name, value in TEXT.items() if name != "intermediate_size"}, **linear, **indexer}
    config = config_of("Qwen4Exp", text_config={**text, **own, **grams, **moe}, vision_config=tower, **ids)
    image = ("Qwen2VLImageProcessor", DYNAMIC)
    return built(config, tokenizer, image, ("Qwen3VLProcessor", {}), chat, video=_QWEN_VIDEO)


def _hyperclovax() -> Parts:
    tokenizer, ids, chat = _qwen_tokens()
    text = {"model_type": "hyperclovax", "vocab_size": len(tokenizer) + 8, "head_dim": 8, "logits_scaling": 0.5}
    config = config_of(
        "HyperCLOVAXVisionV2",
        text_config={**text, "residual_multiplier": 0.5, "embedding_multiplier": 4.0, **TEXT},
        vision_config={
            "model_type": "qwen2_5_vl_vision",
            **TOWER,
            "fullatt_block_indexes": [1],
            "window_size": 28,
        },
        image_token_id=ids["image_token_id"],
        video_token_id=ids["video_token_id"],
        tie_word_embeddings=False,
    )
    video = ("Qwen2VLVideoProcessor", {**PATCH7, "temporal_patch_size": 2})
    processor = ("HyperCLOVAXVisionV2Processor", {})
    return built(config, tokenizer, ("Qwen2VLImageProcessor", DYNAMIC), processor, chat, video=video)


def _lfm3_vl() -> Parts:
    tokenizer, ids, chat = _qwen_tokens()
    layers = ["conv", "sliding_attention", "full_attention"]
    text = {
        "model_type": "lfm3",
        "vocab_size": len(tokenizer) + 8,
        "head_dim": 8,
        "sliding_window": 16,
        "conv_L_cache": 3,
    }
    text |= {"pad_token_id": 0}
    tower = {**_GRID, "spatial_merge_size": 2, "num_key_value_heads": 1, "layer_types": ["conv", "full_attention"]}
    config = config_of(
        "Lfm3Vl",
        text_config={**text, **TEXT, "layer_types": layers, "num_hidden_layers": 3},
        vision_config=tower,
        projector_hidden_size=32,
        **ids,
    )
    image = ("Qwen2VLImageProcessor", DYNAMIC)
    return built(config, tokenizer, image, ("Lfm3VlProcessor", {}), chat, video=_QWEN_VIDEO)


def _dots3_note() -> Parts:
    marks = {"image_token": "<|imgpad|>", "video_token": "<|video_pad|>", "audio_token": "<|audio_comp_pad|>"}
    tokenizer = bpe("<|im_end|>", "<|im_start|>", "<|img|>", "<|endofimg|>", **marks)
    sliding = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 12, **_LATENT}
    text = {
        "vocab_size": len(tokenizer) + 8,
        "layer_types": ["indexed_attention", "sliding_attention"],
        "mlp_layer_types": ["dense", "sparse"],
        "sliding_window": 16,
        "head_dim": 12,
        "shared_experts_intermediate_size": 16,
        "pad_token_id": 0,
        **{f"swa_{name}": value for name, value in sliding.items()},
    }
    tower = {**_GRID, "moe_intermediate_size": 16, "mlp_layer_types": ["dense", "sparse"], "num_local_experts": 4}
    ear = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = config_of(
        "Dots3Note",
        text_config={**text, **_MOE, **_LATENT, **_INDEXER, **TEXT, **_HEADS},
        vision_config={**tower, "adapter_in_dim": 32, "adapter_out_dim": 32},
        audio_config={
            **ear,
            "feature_size": 16,
            "downsample_hidden_size": 8,
            "adapter_input_size": 32,
            "adapter_out_dim": 32,
        },
        **ids_of(tokenizer, **{f"{name}_id": token for name, token in marks.items()}),
    )
    image = ("Qwen2VLImageProcessor", {**DYNAMIC, "temporal_patch_size": 1})
    more = {"video": _QWEN_VIDEO, "extractor": ("Dots3NoteFeatureExtractor", {})}
    return built(config, tokenizer, image, ("Dots3NoteProcessor", {}), chatml("<|img|><|imgpad|><|endofimg|>"), **more)


def _glm5_next() -> Parts:
    names = ("<|system|>", "<|user|>", "<|assistant|>", "[gMASK]", "<sop>", "<|begin_of_image|>", "<|end_of_image|>")
    marks = {"image_token": "<|image|>", "video_token": "<|video|>"}
    tokenizer = bpe("<|endoftext|>", *names, "<|begin_of_video|>", "<|end_of_video|>", **marks)
    ends = {f"{kind}_{end}_token_id": f"<|{to}_of_{kind}|>" for kind in ("image", "video") for end, to in _ENDS.items()}
    text = {
        "vocab_size": len(tokenizer) + 8,
        "layer_types": ["linear_attention", "indexed_attention"],
        "mlp_layer_types": ["dense", "sparse"],
        "indexer_types": ["full", "full"],
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "index_kpool": 4,
        "hc_mult": 2,
        "pad_token_id": 0,
    }
    config = config_of(
        "Glm5Next",
        text_config={**text, **_MOE, **_INDEXER, **_LATENT, "qk_rope_head_dim": 0, **TEXT, **_HEADS},
        vision_config={**TOWER, "image_size": 28, "projection_intermediate_size": 64},
        **ids_of(tokenizer, image_token_id="<|image|>", video_token_id="<|video|>", **ends),
    )
    chat = template("<|ROLE|>\n", "", "<|begin_of_image|><|image|><|end_of_image|>", start="[gMASK]<sop>")
    settings = {**PATCH7, "temporal_patch_size": 2, "min_image_tokens": 1, "max_image_tokens": 25}
    video = ("Glm5NextVideoProcessor", settings)
    return built(config, tokenizer, ("Glm5NextImageProcessor", settings), ("Glm5NextProcessor", {}), chat, video=video)


_ENDS = {"start": "begin", "end": "end"}


def _kimi_k25() -> Parts:
    marks = {"image_token": "<|media_pad|>", "video_token": "<|kimi_k25_video_placeholder|>"}
    tokenizer = bpe("<|im_end|>", "<|im_start|>", "<|media_begin|>", "<|media_end|>", **marks)
    text = {
        "model_type": "deepseek_v3",
        "vocab_size": len(tokenizer) + 8,
        "first_k_dense_replace": 1,
        "num_mtp_layers": 0,
    }
    config = config_of(
        "Kimi_K25",
        text_config={**text, **_MOE, **_LATENT, **TEXT, **_HEADS},
        vision_config={**_GRID, "pos_emb_height": 8, "pos_emb_width": 8, "pos_emb_time": 1},
        projection_hidden_size=32,
        tie_word_embeddings=False,
        **ids_of(tokenizer, vision_start_token_id="<|media_begin|>", vision_end_token_id="<|media_end|>"),
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in marks},
    )
    settings = {**PATCH7, "size": {"max_height": 70, "max_width": 70}, "max_patches": 100}
    more = {"video": ("Kimi_K25VideoProcessor", settings)}
    chat = chatml("<|media_begin|><|media_pad|><|media_end|>")
    return built(config, tokenizer, ("Kimi_K25ImageProcessor", settings), ("Kimi_K25Processor", {}), chat, **more)


def _minimax_m3() -> Parts:
    names = ("image", "video", "start of image", "end of image")
    tokenizer = bpe("[e~[", "]~b]", *(f"]<]{name}[>[" for name in names), bos="]~!b[")
    sparse = {"index_n_heads": 2, "index_head_dim": 8, "index_block_size": 4, "index_topk_blocks": 4}
    text = {
        "vocab_size": len(tokenizer) + 8,
        "head_dim": 8,
        "rotary_dim": 4,
        "layer_types": ["full_attention", "minimax_m3_sparse"],
        "mlp_layer_types": ["dense", "sparse"],
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "dense_intermediate_size": 64,
        "shared_intermediate_size": 16,
    }
    config = config_of(
        "MiniMaxM3VL",
        text_config={**text, **sparse, **TEXT},
        vision_config={**_GRID, "image_size": 70},
        projector_hidden_size=32,
        **ids_of(tokenizer, image_token_index="]<]image[>[", video_token_index="]<]video[>["),
    )
    chat = template("]~b]ROLE\n", "[e~[\n", "]<]image[>[", start="]~!b[", assistant="ai")
    image = ("MiniMaxM3VLImageProcessor", DYNAMIC)
    more = {"video": ("MiniMaxM3VLVideoProcessor", {**PATCH7, "temporal_patch_size": 2})}
    return built(config, tokenizer, image, ("MiniMaxM3VLProcessor", {}), chat, **more)


def _muse(name: str) -> Parts:
    kinds = {"image": "<|patch|>", "video": "<|video|>", **({"audio": "<|audio|>"} if name == "MuseSpark" else {})}
    marks = ("<|image_start|>", "<|image_end|>", "<|vid_start|>", "<|vid_end|>", "<|vid_frame_separator|>")
    tokenizer = bpe(
        "<|eot|>", "<|header_start|>", "<|header_end|>", *kinds.values(), *marks, "<|soft_audio_start|>",
        "<|soft_audio_end|>", bos="<|begin_of_text|>",
    )  # fmt: skip
    text = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16, "head_dim": 8}
    if name == "MuseSpark":
        text |= {"moe_intermediate_size": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_hidden_size": 16}
        ear = {"patch_sizes": (16, 2), "hidden_sizes": (8, 16), "depths": (1, 1), "num_hidden_layers": 2}
        more: Parts = {"audio_config": {**ear, "out_hidden_size": 32}}
    else:
        more = {}
    tower = {**_GRID, "pos_emb_height": 4, "pos_emb_width": 4, "max_position_embeddings": 16}
    config = config_of(
        name,
        text_config={"vocab_size": len(tokenizer) + 8, **text, "output_multiplier": 0.5, **TEXT},
        vision_config={**tower, "layer_types": ["window_attention", "full_attention"]},
        out_hidden_size=128,
        projector_hidden_size=32,
        **ids_of(tokenizer, **{f"{kind}_token_id": token for kind, token in kinds.items()}),
        **more,
    )
    settings = {**PATCH7, "temporal_patch_size": 2}
    also: Parts = {"video": ("MuseGlimmerVideoProcessor", settings)}
    if name == "MuseSpark":
        also["extractor"] = ("MuseSparkFeatureExtractor", {})
    image = ("MuseGlimmerImageProcessor", {**settings, "max_image_tokens": 25})
    chat = template("<|header_start|>ROLE<|header_end|>\n\n", "<|eot|>", "<|patch|>", start="<|begin_of_text|>")
    return built(config, tokenizer, image, (f"{name}Processor", {}), chat, **also)


def _minicpm(name: str, image: str, mode: str = "16x", **more: str) -> Parts:
    marks = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    tags = {"image": "image", "slice": "slice", "image_id": "image_id"}
    marks |= {f"{key}_start_token": f"<{tag}>" for key, tag in tags.items()}
    marks |= {f"{key}_end_token": f"</{tag}>" for key, tag in tags.items()}
    tokenizer = bpe("<|im_end|>", "<|im_start|>", **marks)
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
    text = {
        "model_type": "qwen3_5_text",
        "vocab_size": len(tokenizer) + 8,
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
        "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0},
        "linear_value_head_dim": 8,
    }
    config = config_of(
        name,
        text_config={**text, **linear, **TEXT},
        vision_config={**_GRID, "num_hidden_layers": 3, "image_size": 56},
        insert_layer_id=1,
        downsample_mode=mode,
        tie_word_embeddings=False,
        **ids_of(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>", **more),
    )
    settings = {"patch_size": 7, "scale_resolution": 56, "max_slice_nums": 4, "downsample_mode": mode}
    also = {"video": (f"{image}VideoProcessor", settings)}
    chat = chatml("<|image_pad|>")
    return built(config, tokenizer, (f"{image}ImageProcessor", settings), (f"{name}Processor", {}), chat, **also)


def _nemotron() -> Parts:
    marks = {"image_token": "<image>", "image_start_token": "<img>", "image_end_token": "</img>"}
    tokenizer = bpe("<|im_end|>", "<|im_start|>", "<so_embedding>", "<so_start>", "<so_end>", **marks)
    mamba = {"ssm_state_size": 8, "mamba_num_heads": 4, "mamba_head_dim": 8, "n_groups": 2, "chunk_size": 16}
    moe = {"moe_intermediate_size": 16, "moe_shared_expert_intermediate_size": 16, "n_routed_experts": 4}
    text = {"model_type": "nemotron_h", "vocab_size": len(tokenizer) + 8, "head_dim": 8}
    sizes = {name: value for name, value in TEXT.items() if name != "num_hidden_layers"}
    config = config_of(
        "NemotronH_Omni_Reasoning_V3_",
        text_config={
            **text,
            **mamba,
            **moe,
            "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
            **sizes,
        },
        vision_config={
            "model_type": "radio",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 7,
            "image_size": 28,
            "max_img_size": 140,
            "num_cls_tokens": 1,
            "num_registers": 1,
            "video_temporal_patch_size": 2,
        },
        vision_hidden_size=32,
        projector_hidden_size=32,
        **ids_of(tokenizer, image_token_id="<image>", audio_token_id="<so_embedding>"),
    )
    settings = {"patch_size": 7, "downsample_ratio": 0.5}
    image = ("NemotronH_Omni_Reasoning_V3ImageProcessor", {**settings, "min_num_patches": 4, "max_num_patches": 64})
    video = ("NemotronH_Omni_Reasoning_V3VideoProcessor", settings)
    processor = ("NemotronH_Omni_Reasoning_V3Processor", {})
    more = {"video": video, "extractor": ("ParakeetFeatureExtractor", {})}
    return built(config, tokenizer, image, processor, chatml("<image>\n"), **more)


_TAGS = {"image_start_id": "<image>", "image_end_id": "</image>", "slice_start_id": "<slice>"}
BUILDERS: dict[str, Callable[[], Parts]] = {
    "cosmos3_edge": _cosmos3_edge,
    "qwen4_exp": _qwen4_exp,
    "hyperclovax_vision_v2": _hyperclovax,
    "lfm3_vl": _lfm3_vl,
    "dots3_note": _dots3_note,
    "glm5_next": _glm5_next,
    "kimi_k25": _kimi_k25,
    "minimax_m3_vl": _minimax_m3,
    "muse_glimmer": lambda: _muse("MuseGlimmer"),
    "muse_spark": lambda: _muse("MuseSpark"),
    "minicpm_ocr": lambda: _minicpm("MiniCPMOcr", "MiniCPMOcr", "4x"),
    "minicpmv4_6": lambda: _minicpm("MiniCPMV4_6", "MiniCPMV4_6"),
    "minicpmv4_7": lambda: _minicpm("MiniCPMV4_7", "MiniCPMV4_6", **_TAGS, slice_end_id="</slice>", newline_id="Ċ"),
    "nemotron_h_omni": _nemotron,
}
