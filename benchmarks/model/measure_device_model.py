"""A model of InternVL3-2B's size with random weights on the GPU at hand. For device.sh.

The pass alone, one padded batch, and `score` from files to scores.

python benchmarks/run.py measure_device_model [--results FILE] [--rehearse]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import model_data
from device_table import record

import dataprophet as dp
from dataprophet.data.sample import Sample
from dataprophet.errors import MissingDependencyError
from dataprophet.ops.timing import Way, interleaved

IMAGES, BATCH = 60, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="file that a line of JSON for each row is added to")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, a scaled-down model and two images")
    args = parser.parse_args()
    try:
        dp.load_model("demo", device="cpu")
    except MissingDependencyError as error:  # among them, a transformers that is too old
        record(args.results, "model", "left out: transformers")
        sys.exit(str(error))
    measure(args.results, "cpu" if args.rehearse else "cuda", args.rehearse)


def measure(file: Path | None, device: str, rehearsal: bool) -> None:
    import torch
    from architectures import architecture
    from baselines import ObviousLoop, PaddedBatch
    from bench_model_pass import features, head_share
    from model_flops import features_work

    from dataprophet.model import from_transformers

    built = architecture("InternVL3-2B", scaled=rehearsal)
    network = built.network(device, "float32" if rehearsal else "bfloat16")
    model = from_transformers(network, built.processor, name=built.name, fingerprint="random weights")
    samples = model_data.samples(built.image_sizes[:1] if rehearsal else built.image_sizes, 2 if rehearsal else IMAGES)
    work = features_work(built.config, samples, ObviousLoop(network, built.processor)).total
    size = 64 if rehearsal else 8_192
    a = torch.randn(size, size, device=device, dtype=network.dtype)
    batch = PaddedBatch(network, built.processor, samples, 2 if rehearsal else BATCH, answer_rows=True)
    ways = [
        Way("ours", lambda: features(model, samples)),
        Way("padded batch", batch),
        Way("product", lambda: a @ a),
    ]
    found = interleaved(ways, 1 if rehearsal else 3, counts=[1], device=device)
    ours, peer, product = (found[way.name].median("wall") for way in ways)
    mfu = 100 * work / ours / (2 * size**3 / product)
    record(file, "model", f"{mfu:.0f} ({len(samples) / ours:.0f} samples/s)", None if rehearsal else mfu >= 45)
    record(file, "model_peer", f"{peer / ours:.1f}x", None if rehearsal else peer >= 3 * ours)
    print(f"head and loss: {100 * head_share(model, samples):.1f}% of the pass")
    end_to_end(file, model, samples, ours, rehearsal)


def end_to_end(file: Path | None, model: dp.Model, samples: list[Sample], alone: float, rehearsal: bool) -> None:
    """`score` of the same samples from JPEG files and a JSON list, embeddings measured where the model is."""
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for number, sample in enumerate(samples):
            sample.images[0].save(f"{folder}/{number}.jpg")
            turns = (("human", f"<image>\n{sample.question}"), ("gpt", sample.answer))
            conversation = [{"from": who, "value": text} for who, text in turns]
            rows.append({"id": sample.id, "image": f"{number}.jpg", "conversations": conversation})
        pool, times = Path(folder) / "pool.json", []
        pool.write_text(json.dumps(rows), encoding="utf-8")
        target = dp.profile(dp.open_dataset(pool), model)
        for run in range(1 if rehearsal else 3):
            begin = time.perf_counter()
            dp.score(pool, [target], model, out=f"{folder}/out{run}")
            times.append(time.perf_counter() - begin)
    taken = statistics.median(times)
    text = f"{100 * alone / taken:.0f} ({len(samples) / taken:.0f} samples/s)"
    record(file, "end_to_end", text, None if rehearsal else alone >= 0.9 * taken)


if __name__ == "__main__":
    main()
