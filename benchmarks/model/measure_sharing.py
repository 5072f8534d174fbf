"""What rows that share their beginning cost and change; prints what docs/model.md says of it.

The time, beside another way to share the image and the text before several questions, a cache of the prefix: one pass
over the beginning that all questions of an image have in common keeps keys and values, these are repeated for each
question, and a second pass takes the rest of each. And the rounding in bfloat16, beside that of other batches where
nothing is shared. Scaled-down models on the CPU; the time is that of the decoder, vision features are computed before.

python benchmarks/run.py measure_sharing [--images 4] [--questions 5] [--rounds 5]
"""

import argparse

import model_data
import numpy as np
import torch
from architectures import ARCHITECTURES, architecture

from dataprophet.model import from_transformers
from dataprophet.model.rows import Row, assemble
from dataprophet.model.token_tree import common_prefix
from dataprophet.ops.timing import Way, interleaved, thread_counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--questions", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"{args.images} images, {args.questions} questions about each; CPU ms for the decoder, float32")
    for name in ARCHITECTURES:
        built = architecture(name, scaled=True)
        network = built.network("cpu", "float32")
        model = from_transformers(network, built.processor, fingerprint="random weights")
        samples = model_data.samples(built.image_sizes[:1], args.images, questions=args.questions)
        with torch.inference_mode():
            compare(name, model, samples, args)
        rounding(name, built, samples)


def compare(name, model, samples, args) -> None:
    adapter, encoder = model._adapter, model._encoder
    groups = []
    for start in range(0, len(samples), args.questions):
        part = samples[start : start + args.questions]
        rendered = [encoder.chat.render(sample) for sample in part]
        encoded, images = encoder.group(rendered, part[0].images)
        for item in encoded:
            adapter.set_positions(item, images)
        groups.append((encoded, images))
    rows = [Row.pack(range(len(encoded)), encoded, images) for encoded, images in groups]
    alone = [Row.pack([0], [item], images) for encoded, images in groups for item in encoded]
    ways = [way("one row", adapter, rows), cached(adapter, groups), way("nothing shared", adapter, alone)]
    found = [run.run() for run in ways]
    error = max(float((other - found[0]).abs().amax()) for other in found[1:])
    assert error < 1e-4, error
    times = interleaved(ways, args.rounds, counts=[thread_counts()[-1]])
    figures = ", ".join(f"{run.name} {times[run.name].median('cpu') * 1e3:.0f}" for run in ways)
    print(f"{name}: {figures}; states differ by at most {error:.0e}")


def rounding(name, built, samples) -> None:
    network = built.network("cpu", "bfloat16")
    found = [
        from_transformers(
            network, built.processor, fingerprint="random weights", share=share, batch_tokens=tokens
        ).logprobs(samples)
        for share, tokens in ((False, 1024), (True, 1024), (False, 4096))
    ]
    shared, batched = (
        max(float(np.abs(a - b).max()) for a, b in zip(found[0], other, strict=True)) for other in found[1:]
    )
    print(f"{name}, bfloat16: sharing changes a token by at most {shared:.0e} nat, larger batches by {batched:.0e}")


def way(title, adapter, rows) -> Way:
    batch = assemble(rows)
    vision = adapter.vision(batch)
    return Way(title, lambda: adapter.states(batch, vision))


def cached(adapter, groups) -> Way:
    """The beginnings as one batch, then the ends as another."""
    count = len(groups[0][0])
    ids = [item.ids for encoded, _ in groups for item in encoded]
    length = min(common_prefix(ids[0], other) for other in ids[1:])
    length = min(length, min(len(row) for row in ids) - 1)
    width = max(len(row) for row in ids) - length
    ends = torch.zeros((len(ids), width), dtype=torch.long)
    mask = torch.zeros((len(ids), length + width), dtype=torch.long)
    asked = []
    for index, (row, item) in enumerate(zip(ids, (item for encoded, _ in groups for item in encoded), strict=True)):
        ends[index, : len(row) - length] = torch.from_numpy(row[length:])
        mask[index, : len(row)] = 1
        asked.append(index * width + np.flatnonzero(item.mask) - 1 - length)
    spots = torch.from_numpy(np.concatenate(asked))
    items = [item for encoded, _ in groups for item in encoded]
    positions = None
    if items[0].positions is not None:
        positions = torch.zeros((len(items[0].positions), len(items), length + width), dtype=torch.long)
        for index, item in enumerate(items):
            positions[:, index, : len(item)] = torch.from_numpy(item.positions)
    first = assemble([Row.pack([0], [encoded[0]], images) for encoded, images in groups])
    vision = adapter.vision(first)

    def run():
        kinds = {name: values[:, :length] for name, values in first.types.items()}
        place = {} if positions is None else {"position_ids": positions[:, ::count, :length]}
        output = adapter.base(
            input_ids=first.ids[:, :length],
            attention_mask=mask[::count, :length],
            **kinds,
            **place,
            mm_encoder_outputs={"image": vision.output},
            use_cache=True,
            return_dict=True,
        )
        cache = output.past_key_values
        cache.batch_repeat_interleave(count)
        kinds = {name: torch.zeros_like(ends) for name in first.types}
        place = {} if positions is None else {"position_ids": positions[:, :, length:]}
        hidden = adapter.base(
            input_ids=ends,
            attention_mask=mask,
            **kinds,
            **place,
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
        ).last_hidden_state
        return hidden.reshape(-1, hidden.shape[-1])[spots]

    return Way("prefix cache", run)


if __name__ == "__main__":
    main()
