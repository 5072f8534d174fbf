"""A learner of any model that `dataprophet.load_model` takes, and datasets that `open_dataset` takes.

It trains what the package scores: the same tokens, the same pictures, the mean log-likelihood of the answer's tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

import dataprophet as dp
from dataprophet.data.sample import Sample
from dataprophet.features.features import FIELDS
from dataprophet.model.prefetch import Workers
from dataprophet.model.reader import Refused, Window
from dataprophet.model.rows import Batch
from transfer.cache import digest
from transfer.distances import fold
from transfer.learner import Measured, Row, Score, Training

Samples = Callable[[str, str], Sequence[Sample]]  # of a dataset and a split


@dataclass
class TransformersLearner:
    """See `transfer.learner.Learner`.

    Attributes:
        model: name or folder, as for `load_model`.
        samples: gives the samples of a dataset's split.
        identities: what each dataset's samples depend on, as JSON can hold it.
        training: how it is fine-tuned.
        lora: rank of an adapter on every linear layer, or 0 to train all weights.
        weaken: share of noise in every matrix before anything else, for bases that have something left to learn.
        seed: of the noise and of the adapter.
        profiled, gradient: samples of a split that are measured, and whose gradients are taken; 0 takes no gradients.
        options: further arguments of `load_model`.
    """

    model: str
    samples: Samples
    identities: Mapping[str, Any]
    training: Training = field(default_factory=Training)
    lora: int = 0
    weaken: float = 0.0
    seed: int = 0
    profiled: int = 400
    gradient: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _model(self) -> dp.Model:
        if self.options.get("device", "auto") in ("auto", "cpu") and not torch.cuda.is_available():
            torch.set_num_threads(1)  # results are then the same for any number of processes
        model = dp.load_model(self.model, **self.options)
        self._fingerprint = model.fingerprint
        network = model._adapter.model
        torch.manual_seed(self.seed)
        if self.weaken:
            with torch.no_grad():
                for weight in network.parameters():
                    if weight.ndim > 1:
                        noise = torch.randn(weight.shape)
                        weight.mul_(1 - self.weaken).add_(noise * weight.std() * self.weaken)
        if self.lora:
            from peft import LoraConfig

            network.add_adapter(LoraConfig(r=self.lora, lora_alpha=2 * self.lora, target_modules="all-linear"))
        network.requires_grad_(not self.lora)
        self._trained = {
            name: weight.requires_grad_(True)
            for name, weight in network.named_parameters()
            if not self.lora or "lora_" in name
        }
        self._start = {name: weight.detach().clone() for name, weight in self._trained.items()}
        return model

    @property
    def identity(self) -> dict[str, Any]:
        model = self._model
        sizes = {name: getattr(self, name) for name in ("lora", "weaken", "seed", "profiled", "gradient")}
        return {"model": self._fingerprint, "settings": model.settings, **sizes}

    def data_identity(self, name: str) -> Any:
        return self.identities[name]

    def prepare(self, name: str, split: str) -> None:
        """Nothing is shared between bases; that a split can be read shows early."""
        if not self.samples(name, split):
            raise SystemExit(f"{name}: its {split} holds no samples")

    def reset(self) -> None:
        self._model  # noqa: B018  # loads it
        with torch.no_grad():
            for name, weight in self._trained.items():
                weight.copy_(self._start[name])

    def train(self, name: str, seed: int) -> list[float]:
        samples, generator = list(self.samples(name, "train")), torch.Generator().manual_seed(1000 + seed)
        count = max(1, int(len(samples) * self.training.share))
        chosen = torch.randperm(len(samples), generator=generator)[:count].tolist()
        return self._fit([samples[place] for place in chosen], generator)

    def train_rows(self, rows: Sequence[Row], seed: int) -> list[float]:
        """From the base, on single rows of datasets, which the seed puts in order."""
        samples = [self.samples(name, split)[place] for name, split, place in rows]
        return self._fit(samples, torch.Generator().manual_seed(2000 + seed))

    def _fit(self, samples: Sequence[Sample], generator: torch.Generator) -> list[float]:
        self.reset()
        each, weights = self.training, list(self._trained.values())
        steps = max(1, int(each.epochs * len(samples) / each.rows))
        optimiser = torch.optim.AdamW(weights, lr=each.rate, betas=(0.9, 0.98), weight_decay=0.0)
        losses, waiting = list[float](), list[int]()
        for step in range(steps):
            while len(waiting) < each.rows:
                waiting += torch.randperm(len(samples), generator=generator).tolist()
            batch, waiting = waiting[: each.rows], waiting[each.rows :]
            optimiser.param_groups[0]["lr"] = each.rate * min(1.0, (step + 1) / 6) * (1 - 0.9 * step / steps)
            optimiser.zero_grad()
            losses.append(self._backward([samples[place] for place in batch]))
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
        if each.average < 1:
            with torch.no_grad():
                for name, weight in self._trained.items():
                    weight.lerp_(self._start[name], 1 - each.average)
        return losses

    def _backward(self, samples: Sequence[Sample]) -> float:
        """Gradients of the mean over samples of their mean loss over answer tokens; that mean."""
        total = 0.0
        for unit in self._units(samples):
            if isinstance(unit, Batch):
                losses, _ = self._losses(unit)
                loss = sum(part.mean() for part in losses.split(unit.counts)) / len(samples)
                loss.backward()
                total += loss.item()
        return total

    def _units(self, samples: Sequence[Sample]) -> Iterator[Batch | Window]:
        """The package's own batches, each window's before the window itself. Refused samples are left out."""
        named = [replace(sample, id=str(place)) for place, sample in enumerate(samples)]
        with Workers(0) as workers:
            for unit in self._model._batcher.work(named, lambda: self._model.batch_tokens, workers, texts=False):
                if not isinstance(unit, Refused):
                    yield unit

    def _losses(self, unit: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Per answer token, its loss, and whether it is the most likely one."""
        adapter = self._model._adapter
        batch = adapter.to_device(unit)
        logits = adapter.logits(batch, adapter.vision(batch)).float()
        losses = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
        return losses, logits.argmax(-1) == batch.targets

    @torch.no_grad()
    def evaluate(self, name: str, split: str) -> Score:
        found: dict[int, tuple[float, float]] = {}
        window: dict[int, tuple[float, float]] = {}
        for unit in self._units(self.samples(name, split)):
            if isinstance(unit, Batch):
                parts = (part.split(unit.counts) for part in self._losses(unit))
                for member, loss, hit in zip(unit.members, *parts, strict=True):
                    window[member] = float(hit.all()), -float(loss.mean())
            else:
                found |= {int(unit.items[member].sample.id): pair for member, pair in window.items()}
                window = {}
        ordered = [found[place] for place in sorted(found)]
        return Score([right for right, _ in ordered], [logprob for _, logprob in ordered])

    def measure(self, name: str, split: str) -> Measured:
        self.reset()
        samples = list(self.samples(name, split))[: self.profiled]
        samples = [replace(sample, id=f"{name}/{split}/{place}") for place, sample in enumerate(samples)]
        parts = list(self._model.features(samples, on_problem=lambda _: None))
        ids = [each for part in parts for each in part.ids]
        samples = [sample for sample in samples if sample.id in set(ids)]
        fields = {each: np.concatenate([part.embeddings[each] for part in parts]) for each in FIELDS}
        blind = self._model.logprobs([replace(sample, images=(), image_offsets=None, context=()) for sample in samples])
        return Measured(
            ids=ids,
            nll=np.concatenate([part.nll for part in parts]),
            blind_nll=np.array([-float(each.mean()) for each in blind]),
            n_tokens=np.concatenate([part.n_tokens for part in parts]),
            gradient=self._gradient(samples[: self.gradient]),
            **fields,
        )

    def gradients(self, name: str, split: str, parts: int = 0) -> Iterator[np.ndarray]:
        """Gradients of the base as `Measured` has them: of each sample, or of each of so many parts of a split."""
        self.reset()
        samples = list(self.samples(name, split))
        for part in np.array_split(np.arange(len(samples)), parts or len(samples)):
            yield self._gradient([samples[place] for place in part])

    def _gradient(self, samples: Sequence[Sample]) -> np.ndarray:
        if not samples:
            return np.empty(0)
        for weight in self._trained.values():
            weight.grad = None
        self._backward(samples)
        gradients = [weight.grad.float().cpu().numpy() for weight in self._trained.values() if weight.grad is not None]
        return fold(gradients)


def identity_of(samples: Sequence[Sample]) -> str:
    """Hash of what samples hold, pictures included."""
    told = [[s.question, s.answer, [digest(image.convert("RGB").tobytes()) for image in s.images]] for s in samples]
    return digest(told)
