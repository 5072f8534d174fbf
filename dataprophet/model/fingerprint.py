"""What tells one model from another: a digest of every file that can change its numbers.

`load` calls it; profiles keep what it gives, so that no digest may ever change.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_SUFFIXES = {".json", ".jinja", ".model", ".py", ".safetensors", ".txt"}


def folder_fingerprint(folder: Path, base: Path | None = None) -> str:
    """Hex SHA-256 over names and contents of the files of a model's folder: all weights, to the last byte.

    Of an adapter's folder and of its base model's, where that is another.
    """
    if base is not None:
        parts = [folder_fingerprint(each) for each in (folder, base)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
    with ThreadPoolExecutor(4) as pool:  # hashlib releases the interpreter lock
        lines = [f"{path.name}\0{digest}\n" for path, digest in zip(files, pool.map(_digest, files), strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def hub_fingerprint(name: str, config: Any) -> str:
    """Hex SHA-256 of a hub model's name and commit; the commit hash covers the content of every file."""
    return hashlib.sha256(f"{name}@{getattr(config, '_commit_hash', None)}".encode()).hexdigest()


def network_fingerprint(network: Any, processor: Any) -> str:
    """Hex SHA-256 over the configuration and every weight of a transformers model in memory, and over its processor."""
    import torch

    total = hashlib.sha256(network.config.to_json_string(use_diff=False).encode())
    total.update(processor.image_processor.to_json_string().encode())
    total.update(processor.tokenizer.backend_tokenizer.to_str().encode())
    for name, weight in sorted(network.state_dict().items()):
        total.update(f"\0{name} {weight.dtype} {tuple(weight.shape)}\0".encode())
        total.update(weight.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def text_fingerprint(text: str) -> str:
    """First 16 hex digits of a text's SHA-256, for settings."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
