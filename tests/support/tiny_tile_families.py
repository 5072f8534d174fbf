"""Further families of multimodal models, tiny, as in tiny_families: with tiles or squares, or towers of their own."""

from __future__ import annotations

from collections.abc import Callable

import tiny_other_families
from tiny_parts import (
    LLAMA,
    PATCHES,
    SIGLIP,
    SQUARE,
    TEXT,
    VISION,
    Parts,
    bpe,
    built,
    chatml,
    config_of,
    ids_of,
    template,
)

SQUARE64 = {"height": 64, "width": 64}
SAM = {"hidden_size": 32, "output_channels": 16, "window_size": 2, "num_hidden_layers": 2, "num_attention_heads": 2}
SAM |= {"global_attn_indexes": [1], "mlp_dim": 64, "downsample_channels": [16, 32]}
_DEEPSEEK = {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}
_DEEPSEEK |= {"mlp_layer_types": ["dense", "sparse"]}
_TIMM = {"architecture": "test_efficientnet", "hidden_size": 256, "do_pooling": False}
QFORMER = {**VISION, "vocab_size": 40, "encoder_hidden_size": 32, "cross_attention_frequency": 1}


def _deepseek_ocr2() -> Parts:
    tokenizer = bpe("</s>", bos="<s>", image_token="<image>")
    encoder = {**LLAMA, "num_key_value_heads": 4}
    config = config_of(
        "DeepseekOcr2",
        text_config={"vocab_size": len(tokenizer) + 8, **_DEEPSEEK, **TEXT, "max_position_embeddings": 8192},
        vision_config={
            "sam_config": {**SAM, "image_size": 64, "patch_size": 1, "global_attn_indexes": []},
            "encoder_config": {name: value for name, value in encoder.items() if name != "model_type"},
        },
        image_token_id=tokenizer.image_token_id,
    )
    image = ("DeepseekOcr2ImageProcessor", {"size": SQUARE64, "tile_size": 48, "max_patches": 2})
    chat = template("ROLE: ", "</s>", "<image>\n")
    return built(config, tokenizer, image, ("DeepseekOcr2Processor", {"patch_size": 1}), chat)


def _unlimited_ocr() -> Parts:
    tokenizer = bpe("</s>", bos="<s>", image_token="<image>")
    config = config_of(
        "UnlimitedOcr",
        text_config={"vocab_size": len(tokenizer) + 8, "sliding_window": 16, **_DEEPSEEK, **TEXT},
        vision_config={
            "sam_config": {**SAM, "image_size": 64, "patch_size": 4},
            "encoder_config": {**VISION, "image_size": 64, "patch_size": 16},
        },
        image_token_id=tokenizer.image_token_id,
    )
    image = ("UnlimitedOcrImageProcessor", {"size": SQUARE64, "tile_size": 32, "max_patches": 4})
    chat = template("ROLE: ", "</s>", "<image>\n")
    return built(config, tokenizer, image, ("UnlimitedOcrProcessor", {"patch_size": 4}), chat)


def _gemma3n() -> Parts:
    marks = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    marks |= {"audio_token": "<audio_soft_token>", "boa_token": "<start_of_audio>", "eoa_token": "<end_of_audio>"}
    tokenizer = bpe("<eos>", "<start_of_turn>", "<end_of_turn>", bos="<bos>", **marks)
    size = len(tokenizer)
    text = {
        "vocab_size": size,
        "vocab_size_per_layer_input": size,
        "hidden_size_per_layer_input": 8,
        "head_dim": 8,
        "sliding_window": 16,
        "laurel_rank": 4,
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    }
    ear = {"hidden_size": 32, "conf_num_attention_heads": 2, "conf_num_hidden_layers": 1, "input_feat_size": 32}
    config = config_of(
        "Gemma3n",
        text_config={**TEXT, **text},
        vision_config={**_TIMM, "vocab_size": 4, "vocab_offset": size},
        audio_config={**ear, "sscp_conv_channel_size": [8, 8], "vocab_size": 4, "vocab_offset": size + 4},
        vision_soft_tokens_per_image=4,
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in marks},
    )
    chat = template("<start_of_turn>ROLE\n", "<end_of_turn>\n", "<image_soft_token>", start="<bos>", assistant="model")
    image = ("SiglipImageProcessor", {"size": SQUARE64})
    more = {"extractor": ("Gemma3nAudioFeatureExtractor", {})}
    return built(config, tokenizer, image, ("Gemma3nProcessor", {"image_seq_length": 4}), chat, **more)


def _gemma4_unified() -> Parts:
    parts = tiny_other_families.BUILDERS["gemma4"]()
    tokenizer = parts["tokenizer"]
    text = {"vocab_size": len(tokenizer) + 8, "head_dim": 8, "sliding_window": 16, "global_head_dim": 16}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("image", "boi", "eoi")}
    config = config_of(
        "Gemma4Unified",
        text_config={**text, "layer_types": ["sliding_attention", "full_attention"], **TEXT},
        vision_config={
            "patch_size": 7,
            "pooling_kernel_size": 2,
            "mm_embed_dim": 32,
            "mm_posemb_size": 64,
            "output_proj_dims": 32,
        },
        audio_config=None,
        **ids,
    )
    image = ("Gemma4UnifiedImageProcessor", {"patch_size": 7, "pooling_kernel_size": 2, "max_soft_tokens": 70})
    more = {"video": ("Gemma4UnifiedVideoProcessor", {}), "extractor": ("Gemma4UnifiedAudioFeatureExtractor", {})}
    return {**parts, "config": config, "image": image, "processor": ("Gemma4UnifiedProcessor", {}), **more}


def _fast_vlm() -> Parts:
    tokenizer = bpe("<|im_end|>", "<|im_start|>", image_token="<image>")
    config = config_of(
        "FastVlm",
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer) + 8, **TEXT},
        vision_config={"model_type": "timm_wrapper", **_TIMM},
        image_token_index=tokenizer.image_token_id,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    image = ("CLIPImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": SQUARE64})
    processor = ("LlavaProcessor", {"patch_size": 32, "vision_feature_select_strategy": "full"})
    return built(config, tokenizer, image, processor, chatml("<image>\n"))


def _granite4_vision() -> Parts:
    tokenizer = bpe("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", image_token="<image>")
    pins = [[28, 56], [56, 28], [56, 56]]
    tower = {**SIGLIP, "hidden_size": 64, "intermediate_size": 64}
    config = config_of(
        "Granite4Vision",
        text_config={"vocab_size": len(tokenizer) + 8, "logits_scaling": 2.0, "embedding_multiplier": 4.0, **TEXT},
        vision_config=tower,
        qformer_config={"model_type": "blip_2_qformer", **QFORMER, "use_qformer_text_input": False},
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=pins,
        downsample_rate="1/2",
        deepstack_layer_map=[[1, 0]],
        spatial_target_layers=[1, 1, 1, 1],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    image = (
        "LlavaNextImageProcessor",
        {"size": {"shortest_edge": 28}, "crop_size": SQUARE, "image_grid_pinpoints": pins},
    )
    settings = {"patch_size": 7, "vision_feature_select_strategy": "full", "downsample_rate": "1/2"}
    chat = template("<|start_of_role|>ROLE<|end_of_role|>", "<|end_of_text|>\n", "<image>\n")
    return built(config, tokenizer, image, ("Granite4VisionProcessor", settings), chat)


def _granite_docling() -> Parts:
    grid = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    marks = ("<fake_token_around_image>", "<global-img>", *grid)
    tokenizer = bpe("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", *marks, image_token="<image>")
    config = config_of(
        "GraniteDocling",
        text_config={"vocab_size": len(tokenizer) + 8, "pad_token_id": 0, "bos_token_id": None, **TEXT},
        vision_config={
            **PATCHES,
            **VISION,
            "out_hidden_size": 32,
            "scale_factor": 2,
            "deepstack_visual_indexes": [0],
            "use_fine_route": True,
        },
        image_token_id=tokenizer.image_token_id,
        pad_token_id=0,
    )
    image = ("GraniteDoclingImageProcessor", {"size": SQUARE, "max_patches": 4})
    chat = template("<|start_of_role|>ROLE<|end_of_role|>", "<|end_of_text|>\n", "<image>")
    return built(config, tokenizer, image, ("GraniteDoclingProcessor", {"image_seq_len": 4}), chat)


def _mistral_large4() -> Parts:
    names = ("[INST]", "[/INST]", "[IMG_BREAK]", "[IMG_END]")
    tokenizer = bpe("</s>", *names, bos="<s>", image_token="[IMG]")
    latent = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
    text = {
        "vocab_size": len(tokenizer) + 8,
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "index_topk": 16,
        "index_head_dim": 8,
        "index_n_heads": 16,
        "indexer_types": ["full", "full"],
        "kv_source_layers": [0, 0],
        "head_dim": 4,
    }
    config = config_of(
        "MistralLarge4",
        text_config={**text, **latent, **TEXT, "num_key_value_heads": 4},
        vision_config={"model_type": "pixtral", "image_size": 84, "patch_size": 7, "head_dim": 16, **VISION},
        **ids_of(tokenizer, image_token_index="[IMG]"),
    )
    image = ("PixtralImageProcessor", {"size": {"longest_edge": 84}, "patch_size": {"height": 7, "width": 7}})
    processor = ("PixtralProcessor", {"patch_size": 7, "spatial_merge_size": 2})
    return built(config, tokenizer, image, processor, template("[INST]ROLE ", "</s>", "[IMG]"))


def _step3p7() -> Parts:
    names = ("<im_start>", "<im_end>", "<patch_start>", "<patch_end>", "<patch_newline>")
    tokenizer = bpe("<|im_end|>", "<|im_start|>", *names, image_token="<im_patch>")
    text = {
        "vocab_size": len(tokenizer) + 8,
        "head_dim": 8,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
        "mlp_layer_types": ["dense", "sparse"],
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "share_expert_dim": 16,
        "pad_token_id": 0,
    }
    tower = {"image_size": 112, "patch_size": 14, "max_position_embeddings": 64, **VISION, "mlp_ratio": 2.0}
    config = config_of(
        "Step3p7",
        text_config={**text, **TEXT},
        vision_config=tower,
        image_token_id=tokenizer.image_token_id,
    )
    image = ("Step3p7ImageProcessor", {"size": {"height": 112, "width": 112}, "patch_size": 56, "max_image_size": 224})
    return built(config, tokenizer, image, ("Step3p7Processor", {}), chatml("<im_patch>"))


_SLIDING = {  # of the text models of Inkling
    "head_dim": 8,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
    "swa_head_dim": 8,
    "sliding_window_size": 16,
    "d_rel": 4,
    "rel_extent": 16,
    "layer_types": ["hybrid_sliding", "hybrid"],
}


def _inkling() -> Parts:
    marks = {"image_token": "<|unused_200054|>", "audio_token": "<|unused_200053|>"}
    tokenizer = bpe("<|end|>", "<|start|>", "<|content_image|>", "<|content_audio_input|>", **marks)
    text = {
        "vocab_size": len(tokenizer) + 8,
        "unpadded_vocab_size": len(tokenizer),
        **_SLIDING,
        "mlp_layer_types": ["dense", "sparse"],
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "logits_mup_width_multiplier": 2.0,
    }
    config = config_of(
        "Inkling",
        text_config={**text, **TEXT},
        vision_config={"patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        audio_config={"n_mel_bins": 8, "mel_vocab_size": 8},
        image_token_id=tokenizer.image_token_id,
        audio_token_id=tokenizer.audio_token_id,
        **ids_of(tokenizer, image_bos_token_id="<|content_image|>", audio_bos_token_id="<|content_audio_input|>"),
    )
    image = ("InklingImageProcessor", {"size": {"height": 8, "width": 8}})
    more = {"extractor": ("InklingFeatureExtractor", {})}
    chat = template("<|start|>ROLE:", "<|end|>", "<|content_image|><|unused_200054|>")
    return built(config, tokenizer, image, ("InklingProcessor", {}), chat, **more)


def _inkling2() -> Parts:
    tokenizer = bpe("<|end|>", "<|start|>", image_token="<|unused_200054|>")
    text = {
        "vocab_size": len(tokenizer) + 8,
        "unpadded_vocab_size": len(tokenizer),
        **_SLIDING,
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_layers_per_attn_res_block": 1,
    }
    own = {name: value for name, value in TEXT.items() if name != "intermediate_size"}
    config = config_of(
        "Inkling2",
        text_config={**text, **own},
        vision_config={
            **VISION,
            "patch_size": 7,
            "posemb_grid_size": 4,
            "projection_hidden_dim": 32,
            "text_hidden_size": 32,
        },
        image_token_id=tokenizer.image_token_id,
    )
    image = ("Inkling2ImageProcessor", {"size": {"height": 14, "width": 14}})
    return built(
        config, tokenizer, image, ("Inkling2Processor", {}), template("<|start|>ROLE:", "<|end|>", "<|unused_200054|>")
    )


def _emu3() -> Parts:
    codes = [f"<|visual token {code:06d}|>" for code in range(8)]
    marks = {"image_token": "<image>", "boi_token": "<|image start|>", "eoi_token": "<|image end|>"}
    marks |= {"image_wrapper_token": "<|image token|>", "eof_token": "<|extra_201|>"}
    tokenizer = bpe("<|extra_204|>", "<|extra_200|>", *codes, bos="<|extra_203|>", **marks)
    known = {token: tokenizer.convert_tokens_to_ids(token) for token in ("<image>", "<|extra_200|>", *codes)}
    tower = {"codebook_size": 8, "base_channels": 32, "channel_multiplier": [1, 1, 1, 1], "num_res_blocks": 1}
    config = config_of(
        "Emu3",
        text_config={"vocab_size": len(tokenizer) + 8, "pad_token_id": 0, "attention_dropout": 0.0, **TEXT},
        vq_config={**tower, "hidden_size": 32, "attn_resolutions": []},
        vocabulary_map=known,
    )
    image = ("Emu3ImageProcessor", {"min_pixels": 16 * 16, "max_pixels": 48 * 48})
    chat = template("ROLE: ", "<|extra_204|>", "<image>")
    return built(config, tokenizer, image, ("Emu3Processor", {}), chat)


BUILDERS: dict[str, Callable[[], Parts]] = {
    "deepseek_ocr2": _deepseek_ocr2,
    "unlimited_ocr": _unlimited_ocr,
    "gemma3n": _gemma3n,
    "gemma4_unified": _gemma4_unified,
    "fast_vlm": _fast_vlm,
    "granite4_vision": _granite4_vision,
    "granite_docling": _granite_docling,
    "mistral_large4": _mistral_large4,
    "step3p7": _step3p7,
    "inkling_mm_model": _inkling,
    "inkling2": _inkling2,
    "emu3": _emu3,
}
