"""One pass of a model over a pool: ours against the obvious loop over transformers and a tuned padded batch.

The demo model first, then models of published sizes with random weights: scaled-down twins on the CPU, the real sizes
on CUDA. Each with one question about each image, and with five.

Model FLOP utilisation counts what the features need (model_flops.py), not what a way does: no padding, no logits of
rows that predict no answer, and of several questions about one image that image and the tokens before them once. The
peak is a large matrix product of the same dtype, measured in the same rounds.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import Bench, Target, Way, at_most, faster, of_floor, optional, options, thread_counts, utilisation

from dataprophet import load_model, open_dataset, ops
from dataprophet.data.sample import Sample
from dataprophet.errors import MissingDependencyError

if TYPE_CHECKING:
    from architectures import Architecture

    from dataprophet.model import Model

DATASETS = ("counting", "colours", "charts", "captions")  # one picture in each row: what the peers handle
ALL = ("InternVL3-2B", "Qwen2.5-VL-3B", "SmolVLM-256M", "LLaVA-1.5-7B")
SCALED = ALL[:2]
QUESTIONS = 5  # about each image, in the tasks that share images
BATCH_SIZES = {"cpu": (1, 4), "cuda": (4, 8, 16, 32, 64)}
AGREE = {"float32": (1e-4, 1e-3), "bfloat16": (0.1, 0.3)}  # largest differences of an NLL, of an embedding's element
HEAD = "head and loss at most 5% of the pass, as a share of 1"
SHARED = {"float32": 1e-5, "bfloat16": 1e-3}  # nats


def main() -> None:
    args = options(__doc__)
    torch = optional("torch")
    try:
        load_model("demo", device="cpu")
    except MissingDependencyError as error:  # among them, a transformers that is too old or too new
        print(f"left out: {error}", file=sys.stderr)
        return
    bench = Bench("model_pass", args, rounds=3)
    demo(bench, args.devices)
    if "cpu" in args.devices:
        for name in SCALED[:1] if bench.quick else SCALED:
            sized(bench, name, "cpu")
        head_at_real_size(bench)
    for name in ALL:
        if "cuda" in args.devices and not bench.quick:
            sized(bench, name, "cuda")
            torch.cuda.empty_cache()
        else:
            for questions in (1, QUESTIONS):
                bench.judge(f"CUDA, {name} size, {about(questions)}, bfloat16", targets(name, "cuda", questions, None))
    bench.write()


def demo(bench: Bench, devices: Sequence[str]) -> None:
    """The demo model over its own data."""
    from baselines import ObviousLoop
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from dataprophet.demo.datasets import write_datasets

    folder = str(resources.files("dataprophet.demo") / "model")
    with tempfile.TemporaryDirectory() as data:
        drawn = write_datasets(f"{data}/data", n_source=5 if bench.quick else 25, n_target=1)
        samples = [
            sample
            for written in drawn.sources
            if written.spec.name in DATASETS
            for sample in open_dataset(written.path, name=written.spec.name)
        ]
        for sample in samples:  # decoded before the clock starts, for both
            for image in sample.images:
                image.load()
        for device in devices:
            model = load_model("demo", device=device, dtype="float32")
            network = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").to(device).eval()
            loop = ObviousLoop(network, AutoProcessor.from_pretrained(folder))
            ways = [
                Way("ours", lambda model=model: features(model, samples)),
                Way("obvious loop", lambda loop=loop: loop(samples)),
            ]
            agree(ways, "float32")
            title = f"features of {len(samples)} samples, demo model, float32"
            bench.task(title, ways, items=len(samples), device=device)


def sized(bench: Bench, name: str, device: str) -> None:
    """A model of real size on CUDA, or its scaled-down twin."""
    from architectures import architecture

    from dataprophet.model import from_transformers

    dtype = "float32" if device == "cpu" else "bfloat16"
    built = architecture(name, scaled=device == "cpu")
    network = built.network(device, dtype)
    ours = {
        share: from_transformers(
            network, built.processor, name=built.name, fingerprint="random weights", share=share, check=share
        )
        for share in (True, False)
    }
    for questions in (1, 2 if bench.quick else QUESTIONS):
        compare(bench, name, built, network, ours, questions)


def head_at_real_size(bench: Bench) -> None:
    """A scaled-down twin keeps the whole head and little of the rest; this is its true share, if the CPU can do it."""
    from architectures import architecture

    from dataprophet.model import from_transformers

    title = "InternVL3-2B size on the CPU, one question about each image, bfloat16"
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    found = None
    if not bench.quick and ops.core_info()["isa"] == "amx" and free > 10e9:
        import model_data

        built = architecture("InternVL3-2B")
        network = built.network("cpu", "bfloat16")
        model = from_transformers(network, built.processor, fingerprint="random weights", check=False)
        found = head_share(model, model_data.samples(built.image_sizes, 2))
    bench.judge(title, [at_most(HEAD, 0.05, found)])


def compare(
    bench: Bench, name: str, built: Architecture, network: Any, ours: dict[bool, Model], questions: int
) -> None:
    """All ways over samples with so many questions about each image."""
    import model_data
    from baselines import ObviousLoop
    from model_flops import features_work

    device, dtype = network.device.type, ours[True].dtype
    samples = model_data.samples(built.image_sizes, images(bench, built, device, questions), questions=questions)
    loop = ObviousLoop(network, built.processor)
    work = features_work(built.config, samples, loop)
    ways = [Way("ours", lambda: features(ours[True], samples))]
    if questions > 1:
        ways.append(Way("ours, nothing shared", lambda: features(ours[False], samples)))
    ways.append(Way("obvious loop", lambda: loop(samples)))
    ways += batches(bench, network, built.processor, samples, compiled=device == "cuda" and questions == 1)
    agree(ways, dtype)
    size = built.name if device == "cpu" else f"{built.name} size"
    title = f"{size}, {about(questions)}, {len(samples)} samples of {work.tokens / len(samples):.0f} tokens, {dtype}"
    found = {
        "head": head_share(ours[True], samples) if device == "cuda" else None,
        "difference": difference(ours, samples) if questions > 1 else None,
    }
    bench.task(
        title,
        ways,
        floor=utilisation(work.total, dtype, device),
        targets=targets(name, device, questions, found),
        items=len(samples),
        tokens=work.tokens,
        device=device,
        counts=[1] if bench.quick else thread_counts()[-1:],
    )


def images(bench: Bench, built: Architecture, device: str, questions: int) -> int:
    """How many images: each size of the architecture in equal parts, where there is time for that."""
    if bench.quick:
        return 2 if questions == 1 else 1
    if device == "cpu":
        return 2 * len(built.image_sizes) if questions == 1 else 2
    return 60 if questions == 1 else 12


def about(questions: int) -> str:
    return "one question about each image" if questions == 1 else f"{questions} questions about each image"


def batches(bench: Bench, network: Any, processor: Any, samples: Sequence[Sample], *, compiled: bool) -> list[Way]:
    """The padded batch at its best size: all logits, then those of the answers alone, then under torch.compile."""
    from baselines import PaddedBatch, tuned

    device = network.device.type
    workers = 0 if device == "cpu" else min(8, os.cpu_count() or 1)

    def way(name: str, size: int, **kind: bool) -> Way:
        peer = PaddedBatch(network, processor, samples, size, workers=workers, **kind)
        return Way(f"{name}, padded batch of {size}", peer)

    sizes = BATCH_SIZES[device][:1] if bench.quick else BATCH_SIZES[device]
    best = {rows: tuned(lambda size, rows=rows: way("", size, answer_rows=rows).run, sizes) for rows in (False, True)}
    ways = [way("all logits", best[False]), way("answers' logits", best[True], answer_rows=True)]
    if compiled:
        ways.insert(1, way("all logits, torch.compile", best[False], compiled=True))
        try:
            ways[1].run()
        except Exception as error:  # whatever the compiler raises
            print(f"torch.compile left out: {error}", file=sys.stderr)
            del ways[1]
    return ways


def targets(name: str, device: str, questions: int, found: dict[str, float | None] | None) -> list[Target]:
    """What a task should reach; ``found`` holds what its table does not, None where nothing was measured."""
    if questions > 1:
        listed = [
            faster("at least 3x the samples/s of nothing shared", 3, "ours, nothing shared", kind="wall"),
            at_most(
                f"log-probabilities within {SHARED['float32' if device == 'cpu' else 'bfloat16']:.0e} nat of "
                "nothing shared",
                SHARED["float32" if device == "cpu" else "bfloat16"],
                found and found["difference"],
            ),
        ]
    elif device == "cpu":
        listed = [
            faster("at least 5x the samples/s of the obvious loop", 5, "obvious loop", kind="wall"),
            Target("peak memory above the model at most 1/8 of the obvious loop's", 1 / 8, memory_share, least=False),
        ]
    elif name == "InternVL3-2B":
        listed = [
            of_floor("at least 45% MFU", 45),
            faster("at least 3x the padded batch with all logits", 3, "all logits", kind="wall"),
            faster("at least 10x the obvious loop", 10, "obvious loop", kind="wall"),
        ]
    else:
        listed = []
    if device == "cuda":
        listed.append(at_most(HEAD, 0.05, found and found["head"]))
    if found is None:
        for target in listed:
            target.value = None
    return listed


def memory_share(rows: dict[str, dict[str, Any]]) -> float | None:
    mine, loop = (rows[name].get("extra_mb") for name in ("ours", "obvious loop"))
    return mine / loop if mine is not None and loop else None


def features(model: Model, samples: Sequence[Sample]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Negative log-likelihoods and the embeddings by field, of ours."""
    parts = list(model.features(samples))
    rows = {name: np.concatenate([part.embeddings[name] for part in parts]) for name in ("question", "answer", "image")}
    return np.concatenate([part.nll for part in parts]), rows


def agree(ways: Sequence[Way], dtype: str) -> None:
    """Raises unless all ways find what the obvious loop does; sets their errors, of an NLL against it."""
    found = {way.name: way.run() for way in ways}
    nll, vectors = found["obvious loop"]
    for way in ways:
        mine, rows = found[way.name]
        way.error = float(np.abs(mine - nll).max())
        errors = {"nll": way.error, **{name: float(np.abs(rows[name] - vectors[name]).max()) for name in vectors}}
        for name, error in errors.items():
            if not error <= AGREE[dtype][name != "nll"]:
                raise AssertionError(f"{way.name}: {name} differs by {error:.3g} from the obvious loop")


def difference(ours: dict[bool, Model], samples: Sequence[Sample]) -> float:
    """Largest difference of a token's log-probability between shared and not."""
    pairs = zip(ours[True].logprobs(samples), ours[False].logprobs(samples), strict=True)
    return max(float(np.abs(shared - alone).max()) for shared, alone in pairs)


def head_share(model: Model, samples: Sequence[Sample]) -> float:
    """Part of a pass's time that head and loss take together."""
    import torch

    from dataprophet.model.head import Head

    seconds: list[float] = []
    plain = Head.logprobs
    wait = torch.cuda.synchronize if model.device.startswith("cuda") else lambda: None

    def timed(*args: Any, **kwargs: Any) -> Any:
        wait()
        start = time.perf_counter()
        values = plain(*args, **kwargs)
        wait()
        seconds.append(time.perf_counter() - start)
        return values

    features(model, samples)
    Head.logprobs = timed
    try:
        start = time.perf_counter()
        features(model, samples)
        total = time.perf_counter() - start
    finally:
        Head.logprobs = plain
    return sum(seconds) / total


if __name__ == "__main__":
    main()
