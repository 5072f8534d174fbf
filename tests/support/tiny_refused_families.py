"""Further families of multimodal models, tiny, as in tiny_families: those that are refused for what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tiny_families
import tiny_other_families
from tiny_parts import PATCHES, SQUARE, TEXT, VISION, Parts, bpe, built, config_of, template
from tiny_tile_families import QFORMER, SAM, SQUARE64


def _pp_chart2table() -> Parts:
    parts = tiny_other_families.BUILDERS["got_ocr2"]()
    tokenizer = parts["tokenizer"]
    sam = {name: value for name, value in SAM.items() if name != "downsample_channels"}
    config = config_of(
        "PPChart2Table",
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer) + 8, **TEXT},
        vision_config={**sam, "image_size": 64, "patch_size": 4},
        image_token_index=tokenizer.image_token_id,
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    image = ("PPChart2TableImageProcessor", {"size": SQUARE64})
    return {**parts, "config": config, "image": image, "processor": ("PPChart2TableProcessor", {})}


def _diffusion_gemma() -> Parts:
    parts = tiny_other_families.BUILDERS["gemma4"]()
    text = {"head_dim": 8, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
    moe = {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16, "final_logit_softcapping": 30.0}
    own = {"vocab_size": len(parts["tokenizer"]), "global_head_dim": 16, **text, **moe, **TEXT}
    tower = {"num_key_value_heads": 2, "head_dim": 16, "pooling_kernel_size": 2, "patch_size": 7, **VISION}
    config = config_of(
        "DiffusionGemma",
        text_config=own,
        vision_config={"model_type": "gemma4_vision", **tower, "position_embedding_size": 64},
        image_token_id=parts["config"].image_token_id,
        canvas_length=8,
    )
    return {**parts, "config": config}


def _shieldgemma2() -> Parts:
    parts = tiny_families.BUILDERS["gemma3"]()
    given = parts["config"].to_dict()
    names = ("text_config", "vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index")
    config = config_of(
        "ShieldGemma2", image_token_index=given["image_token_index"], **{name: given[name] for name in names}
    )
    return {**parts, "config": config, "processor": ("ShieldGemma2Processor", {"image_seq_length": 4})}


def _fuyu() -> Parts:
    tokenizer = bpe("</s>", "|NEWLINE|", "<0x04>", bos="<s>", image_token="|SPEAKER|")
    text = {name: value for name, value in TEXT.items() if name != "num_key_value_heads"}
    config = config_of(
        "Fuyu",
        text_config={"model_type": "persimmon", "vocab_size": len(tokenizer) + 8, **text},
        patch_size=7,
        image_size=28,
        image_token_id=tokenizer.image_token_id,
    )
    image = ("FuyuImageProcessor", {"size": {"height": 56, "width": 56}, "patch_size": {"height": 7, "width": 7}})
    return built(config, tokenizer, image, ("FuyuProcessor", {}), template("ROLE: ", "</s>", "|SPEAKER|"))


def _blip(name: str) -> Parts:
    tokenizer = bpe("</s>", bos="<s>", image_token="<image>")
    text = {"model_type": "opt", "vocab_size": len(tokenizer) + 8, "hidden_size": 32, "ffn_dim": 64}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32}
    config = config_of(
        name,
        text_config=text,
        vision_config={**PATCHES, **VISION},
        qformer_config=QFORMER,
        num_query_tokens=4,
        image_token_index=tokenizer.image_token_id,
    )
    chat: str | None = template("ROLE: ", "</s>", "<image>")
    more: dict[str, Any] = {"also": "qformer_tokenizer"} if name == "InstructBlip" else {}
    image = ("BlipImageProcessor", {"size": SQUARE})
    return built(config, tokenizer, image, (f"{name}Processor", {"num_query_tokens": 4}), chat, **more)


BUILDERS: dict[str, Callable[[], Parts]] = {
    "pp_chart2table": _pp_chart2table,
    "diffusion_gemma": _diffusion_gemma,
    "shieldgemma2": _shieldgemma2,
    "fuyu": _fuyu,
    "blip-2": lambda: _blip("Blip2"),
    "instructblip": lambda: _blip("InstructBlip"),
}
