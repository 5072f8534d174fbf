"""One pass of the demo model over drawn data: ours against the obvious loop over transformers."""

import sys
import tempfile
from importlib import resources

import numpy as np
from harness import Bench, Way, optional, options

from dataprophet import load_model, open_dataset
from dataprophet.errors import MissingDependencyError

DATASETS = ("counting", "colours", "charts", "captions")  # one picture in each row: what the obvious loop handles


def main() -> None:
    args = options(__doc__)
    torch = optional("torch")
    try:
        load_model("demo", device="cpu")
    except MissingDependencyError as error:  # among them, a transformers that is too old or too new
        print(f"left out: {error}", file=sys.stderr)
        return
    from dataprophet.demo.datasets import write_datasets

    bench = Bench("model_pass", args, rounds=3)
    count = 5 if args.quick else 25
    with tempfile.TemporaryDirectory() as folder:
        drawn = write_datasets(f"{folder}/data", n_source=count, n_target=1)
        samples = [
            sample
            for written in drawn.sources
            if written.spec.name in DATASETS
            for sample in open_dataset(written.path, name=written.spec.name)
        ]
        for sample in samples:  # decoded before the clock starts, for both
            for image in sample.images:
                image.load()
        for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
            run(bench, samples, device)
    bench.write()


def run(bench, samples, device):
    model = load_model("demo", device=device, dtype="float32")
    loop = ObviousLoop(device)
    ways = [
        Way("ours", lambda: list(model.features(samples))),
        Way("transformers, obvious loop", lambda: loop(samples)),
    ]
    parts = ways[0].run()
    nll, vectors = ways[1].run()
    found = np.concatenate([part.nll for part in parts])
    ways[0].error = float(np.abs(found - nll).max())
    assert ways[0].error < (1e-4 if device == "cpu" else 1e-2), ways[0].error
    for name, rows in vectors.items():
        mine = np.concatenate([part.embeddings[name] for part in parts])
        assert np.abs(mine - rows).max() < (1e-3 if device == "cpu" else 1e-1), (name, np.abs(mine - rows).max())
    bench.task(f"features of {len(samples)} samples, demo model, float32", ways, items=len(samples), device=device)


class ObviousLoop:
    """What one writes first: a sample at a time, logits of every position, each text embedded each time."""

    def __init__(self, device):
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = str(resources.files("dataprophet.demo") / "model")
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").to(device).eval()
        self.device = device

    def __call__(self, samples):
        import torch

        nll, vectors = [], {"question": [], "answer": [], "image": []}
        with torch.inference_mode():
            for sample in samples:
                nll.append(self.nll(sample))
                vectors["question"].append(self.text(sample.question))
                vectors["answer"].append(self.text(sample.answer))
                vectors["image"].append(self.image(sample))
        return np.array(nll), {name: np.stack(rows) for name, rows in vectors.items()}

    def nll(self, sample):
        messages = []
        for turn in sample.turns():
            images = [{"type": "image"}] * len(turn.image_offsets)
            messages.append({"role": "user", "content": [*images, {"type": "text", "text": turn.question}]})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
        prompt = self.processor.apply_chat_template(messages[:-1], add_generation_prompt=True)
        inputs = self.encode(prompt + sample.answer, sample.images)
        start = self.encode(prompt, sample.images)["input_ids"].shape[1]
        logits = self.model(**inputs).logits[0, start - 1 : -1]
        targets = inputs["input_ids"][0, start:]
        return -float(logits.log_softmax(-1).gather(1, targets[:, None]).mean())

    def text(self, text):
        prompt = self.processor.apply_chat_template([{"role": "user", "content": ""}])
        inputs = self.encode(prompt + text, None)
        start = self.encode(prompt, None)["input_ids"].shape[1]
        hidden = self.model.get_decoder()(**inputs).last_hidden_state[0, start:]
        return hidden.mean(0).cpu().numpy()

    def image(self, sample):
        pixels = self.processor.image_processor(list(sample.images), return_tensors="pt").to(self.device)
        features = self.model.get_image_features(**pixels, return_dict=True).pooler_output
        return features[0].reshape(-1, features[0].shape[-1]).mean(0).cpu().numpy()

    def encode(self, text, images):
        encoded = self.processor(text=text, images=list(images) if images else None, return_tensors="pt")
        return {name: value.to(self.device) for name, value in encoded.items()}


if __name__ == "__main__":
    main()
