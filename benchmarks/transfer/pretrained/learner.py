"""The preset's learner: parts from the package index, projector, cached lower states, bases, fine-tuning, features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfer.cache import Cache
from transfer.distances import fold
from transfer.learner import Measured, Score, Training
from transfer.pretrained import projector
from transfer.pretrained.datasets import DATASETS, Row, make_rows, mixture_rows
from transfer.pretrained.language import DTYPE, SPLIT, Batch, Layout, Lower, Tokens, Upper, loss_of, scored, unpack
from transfer.pretrained.tower import load_tower

_EVALUATED = 16  # rows of a batch that is only read


@dataclass(frozen=True)
class Base:
    """How a base comes to be: its mixture of scenes, and its training."""

    scenes: dict[str, float]
    seed: int
    steps: int
    rate: float = 6e-4
    rows: int = 16


@dataclass(frozen=True)
class Sizes:
    """Pictures of the mixture and of each dataset, for training, for each seed's test, and to be profiled."""

    mixture: int = 900
    train: int = 230
    test: int = 60
    profiled: int = 100
    gradient: int = 60


BASES = {
    "A": Base({"shapes": 0.5, "sign": 0.25, "bars": 0.25}, seed=0, steps=130),
    "B": Base({"shapes": 0.25, "sign": 0.45, "bars": 0.3}, seed=1, steps=170, rate=4e-4),
}


@dataclass
class PretrainedLearner:
    """See `transfer.learner.Learner`."""

    cache: Cache
    base: str
    sizes: Sizes = field(default_factory=Sizes)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        self._kept: dict[Any, Any] = {}

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    # what goes into the hashes

    @cached_property
    def identity(self) -> dict[str, Any]:
        return {"base": asdict(BASES[self.base]), **self._below}

    @property
    def _below(self) -> dict[str, Any]:
        version = torch.__version__.split("+")[0]
        return {"split": SPLIT, "dtype": str(DTYPE), "sizes": asdict(self.sizes), "torch": version}

    def data_identity(self, name: str) -> Any:
        return asdict(DATASETS[name])

    # what all bases share

    @cached_property
    def _folder(self) -> Path:
        return self.cache.file("language", {"split": SPLIT}, "", unpack)

    @cached_property
    def _tokens(self) -> Tokens:
        return Tokens(self._folder)

    def _rows(self, name: str, split: str) -> list[Row]:
        if name in BASES:
            mixed = (f"mixture/{name}", self.sizes.mixture, BASES[name].scenes)
            return self._once(("rows", name), lambda: mixture_rows(*mixed))
        count = self.sizes.train if split == "train" else self.sizes.test
        return self._once(("rows", name, split), lambda: make_rows(name, DATASETS[name], split, count))

    def _inputs(self, name: str, split: str) -> dict[str, Any]:
        of = asdict(BASES[name]) if name in BASES else asdict(DATASETS[name])
        return {"name": name, "part": split, "of": of, **self._below}

    def _maps(self, name: str, split: str) -> torch.Tensor:
        """(P, 16, 1408) float16 of the pictures of a split."""

        def make(path: Path) -> None:
            tower, rows, found = load_tower(), self._rows(name, split), []
            for start in range(0, len(rows), _EVALUATED):
                pixels = np.stack([np.asarray(picture.image) for picture, _ in rows[start : start + _EVALUATED]])
                with torch.inference_mode():
                    found.append(tower(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1).half())
            torch.save(torch.cat(found), path)

        return torch.load(self.cache.file("maps", self._inputs(name, split), ".pt", make))

    @cached_property
    def _projector(self) -> dict[str, torch.Tensor]:
        """Trained on the pictures of base A's mixture, and shared: else the lower states could not be."""

        def make(path: Path) -> None:
            from transfer.pretrained.language import load_decoder

            embed = load_decoder(self._folder)[0].embed_tokens.weight.float()
            words: dict[str, torch.Tensor] = {}

            def word(text: str) -> torch.Tensor:
                if text not in words:
                    words[text] = embed[self._tokens.encode(text if text.isdigit() else f" {text}")].mean(0)
                return words[text]

            wanted = torch.stack([projector.targets(picture.parts, word) for picture, _ in self._rows("A", "train")])
            torch.save(projector.train(self._maps("A", "train"), wanted, seed=0), path)

        return torch.load(self.cache.file("projector", self._inputs("A", "train"), ".pt", make))

    @cached_property
    def _lower(self) -> Lower:
        return Lower(self._folder, self._projector)

    def prepare(self, name: str, split: str) -> list[torch.Tensor]:
        """The states below the split, (L, D) for each row."""

        def make(path: Path) -> None:
            maps, layouts = self._maps(name, split), self._layouts(name, split)
            torch.save(self._lower.states(self._tokens, layouts, maps), path)

        inputs = {**self._inputs(name, split), "projector": BASES["A"].scenes}
        return self._once(("lower", name, split), lambda: torch.load(self.cache.file("lower", inputs, ".pt", make)))

    def _layouts(self, name: str, split: str) -> list[Layout]:
        rows = self._rows(name, split)
        return self._once(("layouts", name, split), lambda: [self._tokens.layout(questions) for _, questions in rows])

    # one base

    @cached_property
    def _upper(self) -> Upper:
        upper = Upper(self._folder)

        def make(path: Path) -> None:
            base, torch_seed = BASES[self.base], BASES[self.base].seed
            torch.manual_seed(torch_seed)
            self._fit(upper, (self.base, "train"), base.steps, base.rate, base.rows, base.seed, share=1.0, log=True)
            torch.save({name: value.bfloat16() for name, value in upper.state_dict().items()}, path)

        inputs = {"base": asdict(BASES[self.base]), **self._below}
        self._start = torch.load(self.cache.file("base", inputs, ".pt", make))
        self._load(upper)
        return upper

    def _load(self, upper: Upper) -> None:
        upper.load_state_dict({name: value.float() for name, value in self._start.items()})

    def reset(self) -> None:
        self._load(self._upper)

    def train(self, name: str, seed: int) -> list[float]:
        """From the base, on four fifths of a dataset that the seed draws; the losses of its steps."""
        self.reset()
        each, given = self.training, self.sizes.train
        steps = max(1, int(each.epochs * given * each.share / each.rows))
        losses = self._fit(self._upper, (name, "train"), steps, each.rate, each.rows, seed, share=each.share)
        if each.average < 1:
            with torch.no_grad():
                for weight_name, weight in self._upper.state_dict().items():
                    weight.lerp_(self._start[weight_name].float(), 1 - each.average)
        return losses

    def _fit(
        self,
        upper: Upper,
        of: tuple[str, str],
        steps: int,
        rate: float,
        rows: int,
        seed: int,
        *,
        share: float,
        log: bool = False,
    ) -> list[float]:
        states, layouts = self.prepare(*of), self._layouts(*of)
        generator = torch.Generator().manual_seed(1000 + seed)
        chosen = torch.randperm(len(states), generator=generator)[: int(len(states) * share)]
        weights = [weight for weight in upper.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        losses, waiting = list[float](), list[torch.Tensor]()
        for step in range(steps):
            if not waiting:
                waiting = list(chosen[torch.randperm(len(chosen), generator=generator)].split(rows))
            optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 6) * (1 - 0.9 * step / steps)
            batch = _batch(states, layouts, waiting.pop().tolist())
            loss = loss_of(*upper(batch)[:3])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            losses.append(loss.item())
            if log and step % 10 == 9:
                print(f"base {self.base}: step {step + 1} of {steps}, loss {np.mean(losses[-10:]):.3f}", flush=True)
        return losses

    def evaluate(self, name: str, split: str) -> Score:
        upper, questions = self._upper, [questions for _, questions in self._rows(name, split)]
        right, logprob = self._read(upper, self.prepare(name, split), self._layouts(name, split))
        assert len(right) == sum(map(len, questions))
        return Score(right, logprob)

    @staticmethod
    def _read(
        upper: Upper, states: Sequence[torch.Tensor], layouts: Sequence[Layout]
    ) -> tuple[list[float], list[float]]:
        found: dict[int, tuple[list[float], list[float]]] = {}
        for chosen in _by_length(layouts):
            with torch.inference_mode():
                right, logprob = scored(*upper(_batch(states, layouts, chosen)))
            for place in chosen:
                count = len({turn for turn in layouts[place].turn if turn >= 0})
                found[place] = right[:count], logprob[:count]
                right, logprob = right[count:], logprob[count:]
        ordered = [found[place] for place in range(len(layouts))]
        return [x for pair in ordered for x in pair[0]], [x for pair in ordered for x in pair[1]]

    def measure(self, name: str, split: str) -> Measured:
        """What the base makes of a split: likelihoods with and without pictures, embeddings, the mean gradient."""
        self.reset()
        upper, most = self._upper, self.sizes.profiled if split == "train" else self.sizes.test
        rows, states, maps = self._rows(name, split)[:most], self.prepare(name, split)[:most], self._maps(name, split)
        layouts = self._layouts(name, split)[:most]
        _, logprob = self._read(upper, states, layouts)
        blind = [self._tokens.layout(questions, image=False) for _, questions in rows]
        _, without = self._read(upper, self._lower.states(self._tokens, blind, None), blind)
        pairs = [(place, *pair) for place, (_, questions) in enumerate(rows) for pair in questions]
        texts = self._texts({text for _, question, answer in pairs for text in (question, answer)})
        with torch.inference_mode():
            images = self._lower.projector(maps[:most]).mean(1).numpy()
        tokens = [len(self._tokens.encode(answer)) for *_, answer in pairs]
        return Measured(
            ids=[f"{name}/{split}/{place}/{question}" for place, question, _ in pairs],
            nll=-np.array(logprob),
            blind_nll=-np.array(without),
            n_tokens=np.array(tokens),
            question=np.stack([texts[question] for _, question, _ in pairs]),
            answer=np.stack([texts[answer] for *_, answer in pairs]),
            image=images[[place for place, *_ in pairs]],
            gradient=self._gradient(states[: self.sizes.gradient], layouts[: self.sizes.gradient]),
        )

    def _texts(self, texts: set[str]) -> dict[str, np.ndarray]:
        """Mean of the last hidden states over a text's own tokens, without a picture."""
        ordered, head = sorted(texts), len(self._tokens.head)
        layouts = []
        for text in ordered:
            ids = self._tokens.head + self._tokens.encode(text)
            layouts.append(Layout(ids, list(range(len(ids))), [-1] * len(ids), [0] * len(ids)))
        states, found = self._lower.states(self._tokens, layouts, None), dict[str, np.ndarray]()
        for chosen in _by_length(layouts):
            with torch.inference_mode():
                hidden = self._upper.hidden(_batch(states, layouts, chosen)).float()
            for own, place in zip(hidden, chosen, strict=True):
                found[ordered[place]] = own[head : len(layouts[place].ids)].mean(0).numpy()
        return found

    def _gradient(self, states: Sequence[torch.Tensor], layouts: Sequence[Layout]) -> np.ndarray:
        self._upper.zero_grad(set_to_none=True)
        for chosen in _by_length(layouts):
            loss_of(*self._upper(_batch(states, layouts, chosen))[:3]).backward()
        gradients = [weight.grad for weight in self._upper.parameters() if weight.grad is not None]
        folded = fold([gradient.numpy() for gradient in gradients])
        self._upper.zero_grad(set_to_none=True)
        return folded


def _batch(states: Sequence[torch.Tensor], layouts: Sequence[Layout], chosen: Sequence[int]) -> Batch:
    batch = Batch.of([layouts[place] for place in chosen])
    longest = batch.ids.shape[1]
    padded = [
        torch.nn.functional.pad(states[place].float(), (0, 0, 0, longest - len(states[place]))) for place in chosen
    ]
    batch.states = torch.stack(padded)
    return batch


def _by_length(layouts: Sequence[Layout]) -> list[list[int]]:
    order = sorted(range(len(layouts)), key=lambda place: len(layouts[place].ids))
    return [order[start : start + _EVALUATED] for start in range(0, len(order), _EVALUATED)]
