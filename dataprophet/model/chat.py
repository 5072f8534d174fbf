"""From a sample to text: the rendered chat, where its answer stands, and text that cannot pose as a control token.

Reading renders samples with it, the encoder texts. It knows the processor's template and special tokens, no token ids.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import re
from typing import Any, NamedTuple

from dataprophet.data.sample import Sample, Turn
from dataprophet.errors import ModelError, explained

_SENTINEL = "\ue000dataprophet\ue001"


class Rendered(NamedTuple):
    """A sample as the processor takes it: ``prompt + answer + end``.

    Attributes:
        prompt: everything before the answer, with one image token for each image.
        answer: the scored characters.
        end: the terminator, empty unless it is scored.
    """

    prompt: str
    answer: str
    end: str = ""

    @property
    def text(self) -> str:
        return self.prompt + self.answer + self.end

    @property
    def tail(self) -> int:
        """How many of the last characters are scored."""
        return len(self.answer) + len(self.end)


class Chat:
    """Renders samples with a model's chat template.

    Text from the data is neutralised first: where it spells a special token, such as ``<image>`` or ``<|im_end|>``, a
    space goes behind that token's first character, so that it reads the same but is tokenised as plain text.

    Args:
        processor: a transformers processor.
        template: a Jinja chat template to use in the place of the model's own.
        score_terminator: whether the end-of-turn token is part of the answer.
        where: the model's name, for messages.

    Attributes:
        uses_suffix: the processor takes the answer as ``suffix=`` (a prefix language model, where the attention over
            the prompt is bidirectional and the answer must be kept apart from it). It then needs no chat template.
        image_token: the text that stands for one image before the processor expands it.
        template: the Jinja text in use, empty where none is needed.
    """

    def __init__(self, processor: Any, *, template: str | None, score_terminator: bool, where: str) -> None:
        tokenizer = processor.tokenizer
        self.processor = processor
        self.score_terminator = score_terminator
        self.uses_suffix = "suffix" in inspect.signature(type(processor).__call__).parameters
        self.image_token: str = processor.image_token
        own = getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
        if isinstance(own, dict):
            own = own.get("default")
        self.template: str = "" if self.uses_suffix else template or own or ""
        if not self.template and not self.uses_suffix:
            fix = "pass template= (Jinja text), or add chat_template.jinja to the model's folder"
            raise ModelError("it has no chat template", where=where, fix=fix)
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        special |= {*tokenizer.all_special_tokens, *processor.all_special_multimodal_tokens, self.image_token}
        names = sorted((token for token in special if len(token) > 1), key=lambda token: (-len(token), token))
        self._special = re.compile("|".join(map(re.escape, names)))

    def neutral(self, text: str) -> str:
        """``text`` with every special token in it broken by a space."""
        while self._special.search(text):
            text = self._special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        return text

    def render(self, sample: Sample) -> Rendered:
        """The sample's chat up to the end of its answer.

        The answer is what differs between the chat rendered with it and with a stand-in, so that whatever the template
        does to it (some trim white space) is what is scored. What the template puts behind the answer is cut off: with
        causal attention it cannot change the answer's probability. A scored terminator runs up to the first special
        token behind the answer; where the template has none it is the tokenizer's end-of-sequence token.

        Raises:
            ModelError: the template does not render the answer of the last turn in one piece.
        """
        turns = sample.turns()
        if self.uses_suffix:
            return self._prefix(turns)
        answer = self.neutral(turns[-1].answer)
        prefix, suffix = self._around(self._messages(turns, _SENTINEL))
        full = self._apply(self._messages(turns, answer))
        if not (full.startswith(prefix) and full.endswith(suffix) and len(full) >= len(prefix) + len(suffix)):
            what = "its chat template changes the text around the answer with the answer"
            fix = "pass a plain template= that renders each message in one piece"
            raise ModelError(what, where=sample.place or f"sample {sample.id}", fix=fix)
        end = len(full) - len(suffix)
        return Rendered(full[: len(prefix)], full[len(prefix) : end], self._terminator(suffix))

    def text(self, text: str) -> Rendered:
        """One text as the only message of a user, without image: what text embeddings are made from.

        ``answer`` holds the content, over whose tokens the embedding is the mean.
        """
        return Rendered(self._text_prefix, self.neutral(text))

    @functools.cached_property
    def _text_prefix(self) -> str:
        """What stands before a text: the same for every one, and a template takes long to render."""
        if self.uses_suffix:
            return self.processor.tokenizer.bos_token or ""
        return self._around([_message("user", _SENTINEL)])[0]

    def _around(self, messages: list[dict[str, Any]]) -> tuple[str, str]:
        text = self._apply(messages)
        if text.count(_SENTINEL) != 1:
            what = f"its chat template renders a message {text.count(_SENTINEL)} times instead of once"
            raise ModelError(what, where="chat template", fix="pass a template= that renders each message once")
        prefix, suffix = text.split(_SENTINEL)
        return prefix, suffix

    def _apply(self, messages: list[dict[str, Any]]) -> str:
        import jinja2

        what = f"it does not render {len(messages)} messages"
        fix = "pass a template= that takes content as a list of text and image parts"
        with explained(jinja2.TemplateError, ModelError, what, "chat template", fix):
            text: str = self.processor.apply_chat_template(messages, chat_template=self.template, tokenize=False)
        return text

    def _messages(self, turns: tuple[Turn, ...], answer: str) -> list[dict[str, Any]]:
        """User and assistant messages, images at their places in the questions, with another last answer."""
        answers = [*(self.neutral(turn.answer) for turn in turns[:-1]), answer]
        messages = []
        for turn, text in zip(turns, answers, strict=True):
            messages += [{"role": "user", "content": self._content(turn)}, _message("assistant", text)]
        return messages

    def _content(self, turn: Turn) -> list[dict[str, str]]:
        content, text = [], turn.question
        for start, end in itertools.pairwise([*itertools.accumulate(turn.image_offsets, max, initial=0), len(text)]):
            if end > start:
                content.append({"type": "text", "text": self.neutral(text[start:end])})
            content.append({"type": "image"})
        return content[:-1] or [{"type": "text", "text": ""}]  # an image stands behind every part but the last

    def _prefix(self, turns: tuple[Turn, ...]) -> Rendered:
        """Images first, then the questions and earlier answers on a line each; the processor ends it with a newline."""
        images = sum(len(turn.image_offsets) for turn in turns)
        lines = [line for turn in turns[:-1] for line in (turn.question, turn.answer)]
        prompt = "\n".join(self.neutral(line) for line in (*lines, turns[-1].question))
        return Rendered(self.image_token * images + prompt, self.neutral(turns[-1].answer))

    def _terminator(self, suffix: str) -> str:
        if not self.score_terminator:
            return ""
        match = self._special.search(suffix)
        return suffix[: match.end()] if match else str(self.processor.tokenizer.eos_token or "")


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}
