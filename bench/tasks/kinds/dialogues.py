"""Dialogues as text: by a tokenizer's chat template, else in Alpaca's format.

Source of the format: Taori et al. 2023, Stanford Alpaca, ``train.py``. Deviations:
1. A line break precedes the answer, as in alpaca-lora; there it follows ``Response:`` directly.
2. Alpaca's format holds one instruction and one answer. Here further messages are further sections,
   a system message replaces the first sentences, and a tool's message is a section of input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2.exceptions import TemplateError

from gapbench.bench.core.errors import BackboneError, DataError

ASSISTANT, USER = "assistant", "user"
ROLES = ("system", USER, ASSISTANT, "tool")
_INPUT = "input"
_PLACE = "§the answer§"  # stands for a message, to find where a template writes it
# Templates that write today's date get the one that Llama's name where there is no clock.
_DATE = {"%d": "26", "%m": "07", "%b": "Jul", "%B": "July", "%y": "24", "%Y": "2024"}
_CLOCK = "{% macro strftime_now(form) %}{{ form FILLED }}{% endmacro +%}".replace(
    "FILLED", " ".join(f"| replace('{part}', '{value}')" for part, value in _DATE.items())
)
_SECTIONS = {USER: "Instruction", "tool": "Input", _INPUT: "Input", ASSISTANT: "Response"}
_PREAMBLE = (
    "Below is an instruction that describes a task{}. "
    "Write a response that appropriately completes the request."
)
_WITH_INPUT = ", paired with an input that provides further context"


@dataclass(frozen=True)
class Message:
    """One message of a dialogue; ``input`` is what an instruction is about, empty for nothing."""

    role: str
    content: str
    input: str = ""


@dataclass(frozen=True)
class WrittenDialogue:
    """A dialogue as text.

    Attributes:
        text: all of it up to the end of the last answer.
        answers: first character of each answer, and the one after its end token. That token is the
            special one that follows; the last answer gets the end-of-text token if none does.
    """

    text: str
    answers: Sequence[tuple[int, int]]


def dialogue(where: str, value: Any) -> tuple[Message, ...]:
    """Return a dialogue from a list of mappings with ``role`` and ``content``.

    Raises:
        DataError: naming ``where``, and the message at fault.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(m, Mapping) for m in value):
        raise DataError(f"{where}: found {str(value)[:60]!r}, expected a list of role and content")
    for number, message in enumerate(value):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise DataError(
                f"{where}, message {number}: the role is {role!r}, allowed: {', '.join(ROLES)}; "
                "rename it"
            )
        if not isinstance(content, str) or (role == ASSISTANT and not content.strip()):
            raise DataError(
                f"{where}, message {number}: the content of the {role} is {content!r}, expected "
                f"text{' that is not blank' if role == ASSISTANT else ''}; write it, or remove the "
                "row"
            )
    # Blanks around a message are the template's to write, and few templates keep them.
    made = tuple(Message(message["role"], message["content"].strip()) for message in value)
    if not any(message.role == ASSISTANT for message in made):
        raise DataError(
            f"{where}: no message of the assistant, so there is no answer to learn; add one, or "
            "remove the row"
        )
    return made


class Writer:
    """Writes dialogues for one tokenizer.

    Attributes:
        begins: whether the text itself says how it begins, so that no token is put before it.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Write by the tokenizer's chat template if it has one.

        Raises:
            BackboneError: if there is neither a template nor a token that ends a text.
        """
        if not tokenizer.chat_template and tokenizer.eos_token is None:
            raise BackboneError(
                f"backbone {tokenizer.name_or_path!r}: its tokenizer has neither a chat template "
                "nor an end-of-text token, so that no answer could end; name one of its tokens as "
                "'eos_token' in its tokenizer_config.json"
            )
        self.begins = bool(tokenizer.chat_template)
        self._read: set[tuple[str, ...]] = set()  # roles that the template does not leave out
        self._tokenizer = tokenizer
        marks = {*tokenizer.all_special_tokens} | {
            str(token) for token in tokenizer.added_tokens_decoder.values() if token.special
        }
        self._marks = sorted(marks - {tokenizer.unk_token}, key=len, reverse=True)
        self._end = re.compile(rf"\s*(?:{'|'.join(map(re.escape, self._marks)) or '(?!)'})")

    def write(self, where: str, messages: Sequence[Message]) -> WrittenDialogue:
        """Return a dialogue as text.

        Raises:
            DataError: naming ``where``, if a message holds a special token or the template does not
                write the messages one after the other.
        """
        for number, message in enumerate(messages):
            text = message.content + message.input
            if mark := next((mark for mark in self._marks if mark in text), None):
                raise DataError(
                    f"{where}, message {number}: it holds {mark!r}, which the backbone's tokenizer "
                    "reads as a special token; write it differently, or remove the row"
                )
        return self._by_template(where, messages) if self.begins else self._alpaca(messages)

    def _alpaca(self, messages: Sequence[Message]) -> WrittenDialogue:
        given = _WITH_INPUT if messages[0].input else ""
        system = messages[0].content if messages[0].role == "system" else _PREAMBLE.format(given)
        text, answers = system, []
        for message in messages[messages[0].role == "system" :]:
            parts = [(message.role, message.content), (_INPUT, message.input)]
            for role, content in parts[: 1 + bool(message.input)]:
                text += f"\n\n### {_SECTIONS.get(role, 'Instruction')}:\n"
                start, text = len(text), text + content.strip()
            if message.role == ASSISTANT:
                text += self._tokenizer.eos_token
                answers.append((start, len(text)))
        return WrittenDialogue(text[: answers[-1][1]], answers)

    def _by_template(self, where: str, messages: Sequence[Message]) -> WrittenDialogue:
        self._require_all_read(where, messages)
        whole, answers, ended = self._rendered(where, messages), [], None
        for number, message in enumerate(messages):
            if message.role != ASSISTANT:
                continue
            other, content = self._marked(where, messages, number), message.content.strip()
            start = other.find(_PLACE)
            if start < 0 or whole[:start] != other[:start] or not whole.startswith(content, start):
                raise DataError(
                    f"{where}, message {number}: the chat template of the backbone's tokenizer "
                    "changes this answer, or leaves it out, so that its tokens are not known; "
                    "write the message differently, or remove the row"
                )
            ended = self._end.match(whole, start + len(content))
            answers.append((start, ended.end() if ended else start + len(content)))
        start, stop = answers.pop()
        whole = whole[:stop] + ("" if ended else self._tokenizer.eos_token or "")
        return WrittenDialogue(whole, [*answers, (start, len(whole))])

    def _require_all_read(self, where: str, messages: Sequence[Message]) -> None:
        """Refuse messages that the template leaves out, as it does by their roles alone."""
        roles = tuple(message.role for message in messages)
        for number, role in enumerate(() if roles in self._read else roles):
            if role != ASSISTANT and _PLACE not in self._marked(where, messages, number):
                raise DataError(
                    f"{where}, message {number}: the chat template of the backbone's tokenizer "
                    f"leaves out what the role {role!r} says, which answers may follow from; give "
                    "it another role, or remove the row"
                )
        self._read.add(roles)

    def _marked(self, where: str, messages: Sequence[Message], number: int) -> str:
        """Return the text of a dialogue with the mark in place of one message."""
        marked = replace(messages[number], content=_PLACE)
        return self._rendered(where, [*messages[:number], marked, *messages[number + 1 :]])

    def _rendered(self, where: str, messages: Sequence[Message]) -> str:
        given = [
            {"role": m.role, "content": "\n\n".join(filter(None, (m.content, m.input)))}
            for m in messages
        ]
        try:
            template = self._tokenizer.get_chat_template()
            clock = _CLOCK if "strftime_now" in template else ""
            return str(
                self._tokenizer.apply_chat_template(
                    given, chat_template=clock + template, tokenize=False
                )
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise DataError(
                f"{where}: the chat template of the backbone's tokenizer refuses the roles "
                f"{', '.join(m.role for m in messages)}: {error}; change their order, or remove "
                "the row"
            ) from None


def answer_ends(tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: the tokenizer's own, and that of its chat template.

    Nothing is learned of what follows the latter.
    """
    own = tokenizer.eos_token_id
    ends = [] if own is None else [int(own)]
    if tokenizer.chat_template:
        asked = Message(USER, "a"), Message(ASSISTANT, "b")
        text = Writer(tokenizer).write("the chat template", asked).text
        last = tokenizer(text, add_special_tokens=False)["input_ids"][-1]
        added = tokenizer.added_tokens_decoder.get(last)
        ends += [last] if added is not None and added.special and last not in ends else []
    return ends
