"""What plain transformers gives: full logits of each sample alone, spans found by decoding, the model's own loss."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from dataprophet.data.sample import Sample, Turn

TOLERANCE = 5e-6


def picture(height: int, width: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def make_samples(family: str) -> list[Sample]:
    small, wide, tall = picture(28, 28, 0), picture(30, 60, 1), picture(56, 28, 2)
    samples = [
        Sample("plain", [small], "what color is it?", "the red square"),
        Sample("wide", [wide], "what is on the left? " * 6, "a blue one"),
        Sample("unicode", [tall], "où est le 猫?", "là-bas 🐈 ü, 猫"),
        Sample("newline", [small], "list them", "\none\ntwo"),
        Sample("space", [small], "and?", "  two cats "),
        Sample("repeated", [small], "is it red or is it blue? red", "red"),
        Sample("two images", [small, wide], "first and second: same?", "no", image_offsets=(0, 9)),
        Sample("three images", [tall, small, small], "how many?", "three"),
        Sample("turns", [small, tall], "and this one?", "a dog", (Turn("what is it?", "a cat", (0,)),), (4,)),
        Sample("later", [wide], "how many?", "two", (Turn("what?", "two dogs", (0,)), Turn("sure?", "two", ())), ()),
        Sample("long answer", [small], "tell", "one two three four five " * 8 + "end"),
    ]
    if family != "paligemma":  # which takes no text without an image
        samples.append(Sample("no image", [], "how many circles are there?", "five"))
        samples.append(Sample("no image, turns", [], "sure?", "yes", (Turn("is it red?", "no", ()),)))
    return samples


def reference(model, sample: Sample) -> tuple[np.ndarray, float]:
    """Log-probabilities of the answer from full logits, in float64, and transformers' own loss, of one sample alone."""
    logprobs, targets, loss = predictions(model, sample)
    return logprobs[np.arange(len(targets)), targets], loss


def predictions(model, sample: Sample) -> tuple[np.ndarray, np.ndarray, float]:
    """Log-probabilities (n, V) of every token at each of the answer's in float64, those tokens (n,), and the loss."""
    processor, network = model._encoder.processor, model._adapter.model
    turns = sample.turns()
    if model._encoder.chat.uses_suffix:
        history = "".join(f"{turn.question}\n{turn.answer}\n" for turn in turns[:-1])
        text = "<image>" * len(sample.images) + history + sample.question
        inputs = processor(text=[text], images=[sample.images], suffix=[sample.answer], return_tensors="pt")
        scored = (inputs.pop("labels")[0] != -100).nonzero()[:-1, 0].tolist()  # the last is the end of sequence
    else:
        messages = []
        for turn in turns:
            cuts = [0, *turn.image_offsets]
            content = []
            for start, end in zip(cuts, [*turn.image_offsets, len(turn.question)], strict=True):
                if start < end:
                    content.append({"type": "text", "text": turn.question[start:end]})
                if len(content) < 2 * len(cuts) and end != len(turn.question):
                    content.append({"type": "image"})
            messages.append({"role": "user", "content": content})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
        text = processor.apply_chat_template(messages, tokenize=False)
        bos = processor.tokenizer.bos_token
        extra = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
        if "mm_token_type_ids" in processor.model_input_names:
            extra["return_mm_token_type_ids"] = True
        images = [list(sample.images)] if sample.images else None
        inputs = processor(text=[text], images=images, return_tensors="pt", **extra)
        scored = spelled(processor.tokenizer, inputs["input_ids"][0].tolist(), sample.answer, text)
    floats = {name: value for name, value in inputs.items() if torch.is_tensor(value) and value.is_floating_point()}
    inputs = {**inputs, **{name: value.to(network.dtype) for name, value in floats.items()}}
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[0, scored] = inputs["input_ids"][0, scored]
    with torch.inference_mode():
        output = network(**inputs, labels=labels, use_cache=False)
    logprobs = output.logits[0].double().log_softmax(-1)
    before = [position - 1 for position in scored]
    return logprobs[before].numpy(), inputs["input_ids"][0, scored].numpy(), float(output.loss)


def spelled(tokenizer, ids: list[int], answer: str, text: str) -> list[int]:
    """Positions of the shortest run of tokens, the last in the text, that spells the answer."""

    def decode(part: list[int]) -> str:
        return tokenizer.decode(part, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    tail = answer + text[text.rindex(answer) + len(answer) :]
    start = max(index for index in range(len(ids)) if tail in decode(ids[index:]))
    end = min(index for index in range(start, len(ids) + 1) if answer in decode(ids[start:index]))
    return list(range(start, end))
