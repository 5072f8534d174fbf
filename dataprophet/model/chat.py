"""From a sample to text: the rendered chat, where its answer stands, and text that cannot pose as a control token.

Reading renders samples with it, the encoder texts. It knows the processor's template and special tokens, no token ids.
"""

from __future__ import annotations

import datetime
import functools
import inspect
import itertools
import re
from typing import Any, NamedTuple

from dataprophet.data.sample import Sample, Turn
from dataprophet.errors import ModelError, explained

_SENTINEL = "\ue000dataprophet\ue001"
# Rendered to see what a template takes; printed as a part of a list, the line break and the quotes would be escaped.
_ASKED, _ANSWERED = '\ue000What\'s\n"this"?\ue001', '\ue000It\'s\n"that".\ue001'
# Roles whose messages are plain text, for templates that take no list of parts.
_FORMS = (frozenset[str](), frozenset({"assistant"}), frozenset({"user", "assistant"}))
# The time of templates that ask for one, which Llama 3 falls back on.
_CLOCK = datetime.datetime(2024, 7, 26, 12)
_DIRECTIVES = (*"aAbBcdDeFfGgHhIjklmMnpPrRSsTtuUVwWxXyYzZ", "-d", "-m", "-H", "-I", "-M", "-S", "-j", "-y", "%")


class TextMismatch(ModelError):
    """The text that would be scored is not the sample's."""


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

    Questions are neutralised first: where one spells a special token, such as ``<image>`` or ``<|im_end|>``, a space
    goes behind that token's first character, so that it reads the same but is tokenised as plain text. Answers keep
    their special tokens, such as ``<box>``, as in training. Those that delimit turns or stand for images are refused.

    A template that prints the date or time gets one that never changes.

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
        clock: the time that the template is told, empty where it does not ask.
        probes: what a few fixed conversations come to, for fingerprints.

    Raises:
        ModelError: there is no template, it renders messages not once, or the same chat differently each time.
    """

    def __init__(self, processor: Any, *, template: str | None, score_terminator: bool, where: str) -> None:
        tokenizer = processor.tokenizer
        self.processor, self._where = processor, f"{where}, chat template"
        self.score_terminator = score_terminator
        self.uses_suffix = "suffix" in inspect.signature(type(processor).__call__).parameters
        self.image_token: str = processor.image_token
        own = getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
        if isinstance(own, dict):
            own = own.get("default")
        self.template: str = "" if self.uses_suffix else _with_fixed_clock(template or own or "")
        self.clock = str(_CLOCK) if "strftime_now" in self.template else ""
        if not self.template and not self.uses_suffix:
            fix = "pass template=FILE.jinja, or add chat_template.jinja to the model's folder"
            raise ModelError("it has no chat template", where=where, fix=fix)
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        special |= {*tokenizer.all_special_tokens, *processor.all_special_multimodal_tokens, self.image_token}
        self._special = _any_of(special)
        self._control = _any_of({self.image_token})
        self._strings = self._strings_taken()
        self.probes = [self._probe(turns) for turns in _PROBES]
        named = [token for token in tokenizer.special_tokens_map.values() if isinstance(token, str)]
        written = [token for text in self.probes for token in self._special.findall(text)]
        self._control = _any_of({*named, *written, *processor.all_special_multimodal_tokens, self.image_token})

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
            TextMismatch: an answer holds a control token, or the template changes more of it than outer white space.
            ModelError: the template does not render the answer of the last turn in one piece.
        """
        return self._rendered(sample.turns(), sample.place or f"sample {sample.id}")

    def _rendered(self, turns: tuple[Turn, ...], place: str) -> Rendered:
        if control := next(filter(None, (self._control.search(turn.answer) for turn in turns)), None):
            what = f"an answer holds {control[0]!r}, by which the model tells turns or images apart"
            raise TextMismatch(what, where=place, fix="remove it from the row, or the row")
        if self.uses_suffix:
            return self._prefix(turns)
        answer = turns[-1].answer
        prefix, suffix = self._around(self._messages(turns, _SENTINEL))
        full = self._apply(self._messages(turns, answer))
        if not (full.startswith(prefix) and full.endswith(suffix) and len(full) >= len(prefix) + len(suffix)):
            what = "its chat template changes the text around the answer with the answer"
            fix = "pass a plain template= that renders each message in one piece"
            raise ModelError(what, where=place, fix=fix)
        scored = full[len(prefix) : len(full) - len(suffix)]
        if scored and scored.strip() != answer.strip():
            what = f"the chat template makes {scored[:40]!r} of the answer {answer[:40]!r}"
            raise TextMismatch(what, where=place, fix="change the row, or pass another template=")
        return Rendered(full[: len(prefix)], scored, self._terminator(suffix))

    def _probe(self, turns: tuple[Turn, ...]) -> str:
        """A conversation up to its answer; for a template that takes none like it, why."""
        try:
            return self._rendered(turns, "").text
        except ModelError as error:
            return error.what

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
        return self._around([self._message("user", _SENTINEL)])[0]

    def _strings_taken(self) -> frozenset[str]:
        """The roles whose messages must be plain text: none, if the template takes lists of parts for all."""
        failures = []
        for strings in () if self.uses_suffix else _FORMS:
            self._strings = strings
            try:
                self._check_form()
            except ModelError as error:
                failures.append(error)
            else:
                return strings
        if failures:
            raise failures[0]
        return _FORMS[0]

    def _check_form(self) -> None:
        """Refuses a template that does not render a question, its image and its answer once each."""
        text, again = (self._apply(self._messages((Turn(_ASKED, "", (0,)),), _ANSWERED)) for _ in range(2))
        if text != again:
            what = "it renders the same chat differently each time"
            raise ModelError(what, where=self._where, fix="pass a template= that does not")
        fix = "pass a template= that renders each message and image once"
        bare = _bare(text)
        counts = [("a message", bare.count(_bare(part))) for part in (_ASKED, _ANSWERED)]
        for name, count in [*counts, ("an image", text.count(self.image_token))]:
            if count != 1:
                what = f"its chat template renders {name} {count} times instead of once"
                raise ModelError(what, where=self._where, fix=fix)

    def _around(self, messages: list[dict[str, Any]]) -> tuple[str, str]:
        text = self._apply(messages)
        if text.count(_SENTINEL) != 1:
            what = f"its chat template renders a message {text.count(_SENTINEL)} times instead of once"
            fix = "pass a template= that renders each message once"
            raise ModelError(what, where=self._where, fix=fix)
        prefix, suffix = text.split(_SENTINEL)
        return prefix, suffix

    def _apply(self, messages: list[dict[str, Any]]) -> str:
        what = f"it does not render {len(messages)} messages"
        fix = "pass a template= that takes content as a list of text and image parts"
        with explained(Exception, ModelError, what, self._where, fix):  # a template is a program
            text: str = self.processor.apply_chat_template(messages, chat_template=self.template, tokenize=False)
        return text

    def _messages(self, turns: tuple[Turn, ...], answer: str) -> list[dict[str, Any]]:
        """User and assistant messages, images at their places in the questions, with another last answer."""
        answers = [*(turn.answer for turn in turns[:-1]), answer]
        messages = []
        for turn, text in zip(turns, answers, strict=True):
            messages += [{"role": "user", "content": self._content(turn)}, self._message("assistant", text)]
        return messages

    def _message(self, role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": text if role in self._strings else [{"type": "text", "text": text}]}

    def _content(self, turn: Turn) -> list[dict[str, str]] | str:
        content, text = [], turn.question
        for start, end in itertools.pairwise([*itertools.accumulate(turn.image_offsets, max, initial=0), len(text)]):
            if end > start:
                content.append({"type": "text", "text": self.neutral(text[start:end])})
            content.append({"type": "image"})
        del content[-1]  # an image stands behind every part but the last
        if "user" in self._strings:
            return "".join(part.get("text", self.image_token) for part in content)
        return content or [{"type": "text", "text": ""}]

    def _prefix(self, turns: tuple[Turn, ...]) -> Rendered:
        """Images first, then the questions and earlier answers on a line each; the processor ends it with a newline."""
        images = sum(len(turn.image_offsets) for turn in turns)
        lines = [line for turn in turns[:-1] for line in (turn.question, turn.answer)]
        prompt = "\n".join(self.neutral(line) for line in (*lines, turns[-1].question))
        return Rendered(self.image_token * images + prompt, turns[-1].answer)

    def _terminator(self, suffix: str) -> str:
        if not self.score_terminator:
            return ""
        match = self._special.search(suffix)
        return suffix[: match.end()] if match else str(self.processor.tokenizer.eos_token or "")


# Conversations whose prompts tell one template from another.
_PROBES = (
    (Turn("How many?", "Two", (0,)),),
    (Turn("How many?", "Two"),),
    (Turn(" Left, right: which?\n", "The left.", (1, 6)),),
    (Turn("How many?", "Two", (0,)), Turn("Why?", "One is red,\none blue."), Turn("Is a third there?", "No", (17,))),
)


def _any_of(tokens: set[str]) -> re.Pattern[str]:
    """Matches any of some tokens of more than one character, the longest first."""
    names = sorted((token for token in tokens if len(token) > 1), key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, names)) or "(?!)")


def _bare(text: str) -> str:
    """Text without white space, which templates may trim."""
    return "".join(text.split())


def _with_fixed_clock(template: str) -> str:
    """The template with a clock that stands still: today's date would be another prompt, and score, tomorrow."""
    if "strftime_now" not in template:
        return template
    values = "".join(f"|replace('%{name}', {_CLOCK.strftime(f'%{name}')!r})" for name in _DIRECTIVES)
    return f"{{% macro strftime_now(format) %}}{{{{ format{values} }}}}{{% endmacro %}}\n{template}"
