"""The shipped demo model: plain transformers load it, it answers, its recipe is whole; training is reproducible."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path

import pytest
from demo_model.batches import Batcher, Row
from demo_model.train import exact_match, train

import dataprophet.demo
from dataprophet.demo.questions import Question, ask
from dataprophet.demo.scenes import Scene, draw, make_scene

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MODEL = Path(dataprophet.demo.__file__).parent / "model"
TASKS = {"count", "colour", "shape", "position", "relation", "exist", "read", "height", "compare", "describe", "words"}


@pytest.fixture(scope="module")
def loaded():
    processor = transformers.AutoProcessor.from_pretrained(MODEL, local_files_only=True)
    model = transformers.AutoModelForImageTextToText.from_pretrained(MODEL, dtype=torch.float32, local_files_only=True)
    return processor, model.eval()


def fresh(task, count, kind="shapes"):
    """Scenes and questions of a seed that neither training nor the recipe's evaluation used."""
    rng = random.Random(f"test/{task}")
    found: list[tuple[Scene, Question]] = []
    while len(found) < count:
        scene = make_scene(rng, kind, rng.choice(("plain", "dark", "noise")))
        question = ask(rng, scene, task, "plain")
        if question:
            found.append((scene, question))
    return found


def test_files_are_small_and_weights_are_safetensors():
    files = {path.name: path.stat().st_size for path in MODEL.iterdir()}
    assert sum(files.values()) < 4_000_000
    assert {"model.safetensors", "config.json", "tokenizer.json", "processor_config.json", "recipe.json"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pt", ".py", ".pkl"))]


def test_recipe_names_all_that_made_the_weights(loaded):
    recipe = json.loads((MODEL / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["steps"] == sum(stage["steps"] for stage in recipe["stages"])
    assert all({"seed", "steps", "final_loss"} <= set(stage) for stage in recipe["stages"])
    assert recipe["parameters"] == sum(weight.numel() for weight in loaded[1].parameters())
    assert 1_000_000 <= recipe["parameters"] <= 2_000_000
    assert set(recipe["accuracy"]["by task"]) == TASKS
    assert {"torch", "transformers", "tokenizers"} <= set(recipe["versions"])
    assert {"kinds", "styles", "phrasings"} == set(recipe["mixture"])


@pytest.mark.parametrize(("task", "chance"), [("count", 0.25), ("colour", 0.2)])
def test_generates_right_answers_through_transformers_alone(loaded, task, chance):
    processor, model = loaded
    cases = fresh(task, 100)
    prompts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.question}]}],
            add_generation_prompt=True,
        )
        for _, question in cases
    ]
    images = [
        draw(scene).resize((80, 64)) if index % 10 == 0 else draw(scene) for index, (scene, _) in enumerate(cases)
    ]
    inputs = processor(
        text=prompts, images=images, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=True
    )
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    answers = processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    right = sum(answer == question.answer for answer, (_, question) in zip(answers, cases, strict=True))
    assert right / 100 > chance + 0.5


@pytest.mark.parametrize(
    ("task", "kind", "least"),
    [
        ("count", "shapes", 0.95),
        ("colour", "shapes", 0.8),
        ("shape", "shapes", 0.85),
        ("exist", "shapes", 0.7),
        ("position", "shapes", 0.7),
        ("height", "bars", 0.85),
        ("compare", "bars", 0.85),
        ("read", "sign", 0.65),
    ],
)
def test_exact_match_on_fresh_scenes(loaded, task, kind, least):
    processor, model = loaded
    rows = [Row(scene, [question], apart=True) for scene, question in fresh(task, 100, kind)]
    assert exact_match(model, Batcher(processor.tokenizer), rows) >= least


def test_what_training_reads_is_what_the_processor_makes(loaded):
    processor, _ = loaded
    (scene, question), *_ = fresh("colour", 1)
    batch = Batcher(processor.tokenizer)([Row(scene, [question], apart=True)])
    text = processor.apply_chat_template(
        [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.question}]},
            {"role": "assistant", "content": question.answer},
        ]
    )
    inputs = processor(text=[text], images=[draw(scene)], return_tensors="pt")
    assert inputs["input_ids"].tolist() == batch.inputs["input_ids"].tolist()
    torch.testing.assert_close(inputs["pixel_values"], batch.inputs["pixel_values"], rtol=0, atol=1e-6)


def test_questions_set_apart_are_scored_as_if_alone(loaded):
    processor, model = loaded
    batcher = Batcher(processor.tokenizer)
    scene = fresh("colour", 1)[0][0]
    rng = random.Random(0)
    questions = [ask(rng, scene, task, "plain") for task in ("count", "colour", "shape", "exist")]
    together = batcher([Row(scene, questions, apart=True)])
    alone = batcher([Row(scene, [question], apart=True) for question in questions])
    with torch.inference_mode():
        logits = [
            model.lm_head(model.model(**batch.inputs, use_cache=False).last_hidden_state[batch.keep])
            for batch in (together, alone)
        ]
    assert together.targets.tolist() == alone.targets.tolist()
    torch.testing.assert_close(*logits, rtol=1e-4, atol=2e-4)


def test_training_is_a_function_of_seed_and_steps(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        recipe = train(tmp_path / name, seed=seed, steps=2, items=2)
        assert recipe["stages"][0]["steps"] == recipe["steps"] == 2
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in "abc"}
    assert weights["a"] == weights["b"] != weights["c"]
    assert (tmp_path / "a" / "recipe.json").read_bytes() == (tmp_path / "b" / "recipe.json").read_bytes()


def test_training_continues_from_an_earlier_run(tmp_path):
    recipe = train(tmp_path / "more", seed=5, steps=2, items=2, start=MODEL)
    stages = json.loads((MODEL / "recipe.json").read_text(encoding="utf-8"))["stages"]
    assert recipe["stages"][:-1] == stages
    assert recipe["stages"][-1]["seed"] == 5
    assert recipe["stages"][-1]["final_loss"] < 1.0
    for name in (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "processor_config.json",
        "chat_template.jinja",
    ):
        assert (tmp_path / "more" / name).read_bytes() == (MODEL / name).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transformers.AutoProcessor.from_pretrained(tmp_path / "more", local_files_only=True)
