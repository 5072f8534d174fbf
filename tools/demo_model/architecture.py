"""The demo model's parts: a byte-level BPE tokenizer, a chat template, a processor, and an untrained LLaVA."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from dataprophet.demo.questions import PHRASINGS, TASKS, ask
from dataprophet.demo.scenes import KINDS, SIZE, make_scene

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

PATCH = 8
IMAGE_TOKENS = (SIZE // PATCH) ** 2
WIDTH, LAYERS, VISION_LAYERS, HEADS = 128, 4, 4, 4
VOCABULARY = 704
CONTEXT = 512
BOS, EOS, PAD, IMAGE, USER, ASSISTANT = "<s>", "</s>", "<pad>", "<image>", "<user>", "<assistant>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<user>{% else %}<assistant>{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A tokenizer trained on the demo's questions and answers. A capital or digit that stands alone is one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    rng = random.Random(f"tokenizer/{seed}")
    lines = []
    for index in range(12_000):
        scene = make_scene(rng, KINDS[index % 3], "plain")
        tasks = [task for task, kind in TASKS.items() if kind in (scene.kind, "any", "none")]
        found = ask(rng, scene, rng.choice(tasks), rng.choice(PHRASINGS))
        if found:
            lines += [found.question, found.answer]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[A-Z0-9](?![a-z])"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS, IMAGE, USER, ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="right",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": IMAGE, "user_token": USER, "assistant_token": ASSISTANT},
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """A LLaVA processor that needs Pillow only and resizes every image to `SIZE` x `SIZE`."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    size = {"height": SIZE, "width": SIZE}
    images = CLIPImageProcessorPil(
        size=size, do_center_crop=False, crop_size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlavaForConditionalGeneration:
    """An untrained model of about 1.3 million parameters: CLIP vision tower, projector, Llama decoder."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(seed)
    shared: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_attention_heads": HEADS,
    }
    config = LlavaConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "num_hidden_layers": LAYERS,
            "num_key_value_heads": HEADS,
            "max_position_embeddings": CONTEXT,
            "tie_word_embeddings": True,
            "initializer_range": 0.06,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **shared,
        },
        vision_config={
            "model_type": "clip_vision_model",
            "image_size": SIZE,
            "patch_size": PATCH,
            "num_hidden_layers": VISION_LAYERS,
            "projection_dim": WIDTH,
            **shared,
        },
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and "embed" not in name and "lm_head" not in name:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5 * 0.7)
    return model
