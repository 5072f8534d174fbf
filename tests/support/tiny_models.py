"""Families of multimodal models, tiny and random, built offline through transformers and written to a folder."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import tiny_families
import tiny_grid_families
import tiny_more_families
import tiny_other_families
import tiny_refused_families
import tiny_tile_families
import torch
import transformers

FAMILIES = tuple(tiny_families.BUILDERS)
"""Those that every test of the pass runs with."""
_LATER = (tiny_grid_families, tiny_tile_families, tiny_refused_families)
LATER_FAMILIES = tuple(name for part in _LATER for name in part.BUILDERS)
"""Those that `make families` alone tries, with torchvision and timm."""
MORE_FAMILIES = (*tiny_more_families.BUILDERS, *tiny_other_families.BUILDERS, *LATER_FAMILIES)
NEED_TORCHVISION = {"mistral3", "mistral_large4", "fast_vlm", "gemma3n"}
"""Families whose processor or tower asks for torchvision, though their image processor does not."""
_OTHERS = (tiny_more_families, tiny_other_families, *_LATER)
BUILDERS = tiny_families.BUILDERS | {name: one for part in _OTHERS for name, one in part.BUILDERS.items()}


def needs_torchvision(family: str) -> bool:
    """Whether the family's processor exists with torchvision alone."""
    return not hasattr(transformers, f"{BUILDERS[family]()['image'][0]}Pil") or family in NEED_TORCHVISION


def write(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Builds a family and writes it the way a folder on the hub looks: weights, tokenizer, preprocessor, template."""
    torchvision = importlib.util.find_spec("torchvision") is not None
    parts = BUILDERS[family]()
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
    if "also" in parts:  # a second tokenizer
        parts["tokenizer"].save_pretrained(folder / parts["also"])
    name, settings = parts["image"]
    image = getattr(transformers, name if torchvision or not hasattr(transformers, f"{name}Pil") else f"{name}Pil")
    image(image_mean=[0.5] * 3, image_std=[0.5] * 3, **settings).save_pretrained(folder)
    if torchvision and "video" in parts:
        name, settings = parts["video"]
        getattr(transformers, name)(**settings).save_pretrained(folder)
    if torchvision and "extractor" in parts:  # of sound, whose settings stand in the image processor's file
        name, settings = parts["extractor"]
        file = folder / "preprocessor_config.json"
        before = json.loads(file.read_text())
        getattr(transformers, name)(**settings).save_pretrained(folder)
        file.write_text(json.dumps({**json.loads(file.read_text()), **before}))
    name, settings = parts["processor"]
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": name, **settings}))
    if parts["template"]:
        (folder / "chat_template.jinja").write_text(parts["template"])
    return folder
