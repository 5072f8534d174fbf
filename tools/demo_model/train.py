"""Trains the demo model, in stages: a function of seeds and steps, with no clock, on one thread, in float32.

    export PYTHONPATH=tools
    python -m demo_model.train --out STAGE1
    python -m demo_model.train --out STAGE2 --start STAGE1 --seed 1 --steps 700 --rate 0.5

made the shipped model, in about 20 minutes on one core. Its settings and accuracies are in ``recipe.json`` beside the
weights.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprophet.demo.questions import PHRASINGS, TASKS, ask
from dataprophet.demo.scenes import KINDS, STYLES, make_scene
from dataprophet.errors import MissingDependencyError
from demo_model import batches
from demo_model.architecture import build_model, build_processor, build_tokenizer
from demo_model.batches import Batch, Batcher, Row, training_rows

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

STEPS = 1800
ROWS = 20
MATRIX_RATE, OTHER_RATE = 6e-3, 2e-3
WARM_UP = 40


def train(
    out: Path, *, seed: int = 0, steps: int = STEPS, items: int = 200, start: Path | None = None, rate: float = 1.0
) -> dict[str, Any]:
    """Train, evaluate on held-out scenes, and write weights, processor and recipe to a folder.

    Args:
        out: folder to write; made where it is missing.
        seed: fixes the tokenizer, the initial weights and every scene.
        steps: optimiser steps of `ROWS` pictures each.
        items: held-out questions per task, style and phrasing group.
        start: folder that an earlier run wrote; its weights are trained further, with a fresh optimiser.
        rate: factor on the learning rates.

    Returns:
        The recipe, as written.
    """
    try:
        import torch
        from torch.optim import Muon
    except ImportError as error:
        raise MissingDependencyError(
            "training needs torch 2.9 or newer", where="demo_model.train", fix="pip install 'torch>=2.9'"
        ) from error

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tokenizer, model, stages = _begin(seed, start)
        batcher = Batcher(tokenizer)
        rng = random.Random(f"train/{seed}")
        matrices, others = _split(model)
        optimisers = [
            Muon(matrices, lr=MATRIX_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw", ns_steps=4),
            torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        smooth = 0.0
        for step in range(steps):
            share = rate * min(1.0, (step + 1) / WARM_UP) * (1 - 0.97 * step / steps)
            for optimiser, top in zip(optimisers, (MATRIX_RATE, OTHER_RATE), strict=True):
                optimiser.param_groups[0]["lr"] = top * share
                optimiser.zero_grad()
            batch = batcher(training_rows(rng, ROWS, batcher))
            loss = torch.nn.functional.cross_entropy(_answer_logits(model, batch), batch.targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimiser in optimisers:
                optimiser.step()
            smooth = loss.item() if step == 0 else 0.97 * smooth + 0.03 * loss.item()
            if (step + 1) % 50 == 0:
                print(f"step {step + 1} of {steps}, loss {smooth:.4f}", file=sys.stderr, flush=True)
        model.half().float()
        accuracy = evaluate(model, batcher, seed=seed, items=items)
        stages.append({"seed": seed, "steps": steps, "rate": rate, "final_loss": round(smooth, 4)})
        recipe = {
            "stages": stages,
            "steps": sum(stage["steps"] for stage in stages),
            "rows_per_step": ROWS,
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "learning_rates": {"matrices (Muon)": MATRIX_RATE, "others (AdamW)": OTHER_RATE},
            "schedule": f"each stage: {WARM_UP} steps of warm-up, then linear to 3%",
            "mixture": {
                "kinds": batches.KIND_WEIGHTS,
                "styles": batches.STYLE_WEIGHTS,
                "phrasings": batches.PHRASING_WEIGHTS,
            },
            "accuracy": accuracy,
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")},
        }
        _save(out, model, batcher, recipe)
    finally:
        torch.set_num_threads(threads)
    return recipe


def evaluate(model: LlavaForConditionalGeneration, batcher: Batcher, *, seed: int, items: int) -> dict[str, Any]:
    """Exact match of greedy answers on scenes that training did not see, one question per picture.

    Every answer token must be the most probable one given those before it, the end token included, which is the same
    as generating the answer greedily.

    Returns:
        Accuracy "by task" (plain phrasing, styles of the training mixture), "by style" and "by phrasing" (all tasks).
    """
    trained = list(batches.STYLE_WEIGHTS)[:3]
    groups: dict[str, dict[str, list[Row]]] = {
        "by task": {task: _held_out(seed, items, [task], trained, ["plain"]) for task in TASKS},
        "by style": {style: _held_out(seed, items, list(TASKS), [style], ["plain"]) for style in STYLES},
        "by phrasing": {phrasing: _held_out(seed, items, list(TASKS), trained, [phrasing]) for phrasing in PHRASINGS},
    }
    return {
        group: {name: round(exact_match(model, batcher, rows), 4) for name, rows in members.items()}
        for group, members in groups.items()
    }


def exact_match(model: LlavaForConditionalGeneration, batcher: Batcher, rows: list[Row]) -> float:
    """Share of one-question rows whose whole answer the model would generate greedily."""
    import torch

    right: list[bool] = []
    with torch.inference_mode():
        for start in range(0, len(rows), 50):
            batch = batcher(rows[start : start + 50])
            hits = _answer_logits(model, batch).argmax(-1) == batch.targets
            right += [bool(part.all()) for part in hits.split(batch.keep.sum(1).tolist())]
    return sum(right) / len(right)


def _held_out(seed: int, items: int, tasks: list[str], styles: list[str], phrasings: list[str]) -> list[Row]:
    rng = random.Random(f"held out/{seed}/{tasks}/{styles}/{phrasings}")
    rows: list[Row] = []
    while len(rows) < items:
        task = rng.choice(tasks)
        kind = rng.choice(KINDS) if TASKS[task] == "any" else TASKS[task]
        scene = None if kind == "none" else make_scene(rng, kind, rng.choice(styles))
        question = ask(rng, scene, task, rng.choice(phrasings))
        if question:
            rows.append(Row(scene, [question], apart=True))
    return rows


def _answer_logits(model: LlavaForConditionalGeneration, batch: Batch) -> torch.Tensor:
    hidden = model.model(**batch.inputs, use_cache=False).last_hidden_state
    logits: torch.Tensor = model.lm_head(hidden[batch.keep])
    return logits


def _split(model: LlavaForConditionalGeneration) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    groups: dict[bool, list[torch.nn.Parameter]] = defaultdict(list)
    for name, weight in model.named_parameters():
        groups[weight.ndim == 2 and "embed" not in name].append(weight)
    return groups[True], groups[False]


def _begin(
    seed: int, start: Path | None
) -> tuple[PreTrainedTokenizerFast, LlavaForConditionalGeneration, list[dict[str, Any]]]:
    """Tokenizer, model and the stages of training it has had."""
    import torch
    from transformers import LlavaForConditionalGeneration

    stages = json.loads((start / "recipe.json").read_text(encoding="utf-8"))["stages"] if start else []
    first = stages[0]["seed"] if stages else seed
    tokenizer = build_tokenizer(first)
    model = build_model(tokenizer, first)
    if start:
        earlier = LlavaForConditionalGeneration.from_pretrained(start, dtype=torch.float32, local_files_only=True)
        model.load_state_dict(earlier.state_dict())
    return tokenizer, model, stages


def _save(out: Path, model: LlavaForConditionalGeneration, batcher: Batcher, recipe: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    build_processor(batcher.tokenizer).save_pretrained(out)
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    for path in out.iterdir():
        path.chmod(0o644)


def main(arguments: list[str] | None = None) -> None:
    """The command line of the training script."""
    parser = argparse.ArgumentParser(prog="python -m demo_model.train", description="Train the demo model.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimiser steps (default {STEPS})")
    parser.add_argument("--start", type=Path, help="folder of an earlier run to train further")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    options = parser.parse_args(arguments)
    recipe = train(options.out, seed=options.seed, steps=options.steps, start=options.start, rate=options.rate)
    print(json.dumps(recipe["accuracy"], indent=2))


if __name__ == "__main__":
    main()
