"""Messages → token ids through a model's chat template, where nothing that was said can pass for a control token.

A template writes a conversation as one text in which control tokens such as ``<|im_end|>`` separate the turns. If
message text were encoded along with it, anybody who writes ``<|im_end|>`` into a document could end the turn and speak
as the system. So control tokens that stand in messages are marked before rendering, only unmarked ones become their id,
and all other text is encoded by a tokenizer for which control tokens are ordinary characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from tokenizers import Tokenizer
from tokenizers.models import Unigram

from ..errors import CheckpointError, GenerationError
from ..records import Message
from ..text.unicode import well_formed

_ROLES = ("system", "user", "assistant")


def checked_messages(messages: Sequence[Message] | str) -> Sequence[Message]:
    """A conversation; a string is one user message.

    Raises:
        GenerationError: there is no message, or one is none.
    """
    if isinstance(messages, str):
        return [Message("user", messages)]
    if not messages:
        raise GenerationError("there are no messages: give at least one, or a string")
    for message in messages:
        if not isinstance(message, Message) or message.role not in _ROLES or not isinstance(message.content, str):
            raise GenerationError(
                f"{message!r} is not a message: expected langbert.records.Message with a text and one of the roles "
                f"{', '.join(_ROLES)}"
            )
    return messages


class ChatFormat:
    """How one model wants its conversations.

    Args:
        tokenizer: the model's; its control tokens are plain text to it from here on.
        template: Jinja source as checkpoints carry it, run in a sandbox and on a budget. None for a model that was
            never taught to chat: it reads the contents, separated by blank lines.
        tokens: what a template may refer to, e.g. ``{"bos_token": "<s>"}``.

    Raises:
        CheckpointError: the template does not parse.
    """

    def __init__(self, tokenizer: Tokenizer, template: str | None, tokens: Mapping[str, str]) -> None:
        self._tokenizer = tokenizer
        tokenizer.encode_special_tokens = True
        self._tokens = dict(tokens)
        from .template import ChatTemplate  # Jinja, which a remote model does not need

        self._template = ChatTemplate(template) if template else None
        added = tokenizer.get_added_tokens_decoder()
        # a token of one character cannot be marked inside, so it is never more than that character
        control = {i: token for i, token in added.items() if token.special and len(token.content) > 1}
        self._control_ids = {token.content: i for i, token in control.items()}
        self._control = _alternatives([token.content for token in control.values()])
        self._knows_control_words = isinstance(tokenizer.model, Unigram)
        # some control tokens swallow the blanks beside them
        self._separators = re.compile(
            "|".join(
                (r"\s*" if token.lstrip else "") + f"({re.escape(token.content)})" + (r"\s*" if token.rstrip else "")
                for token in sorted(control.values(), key=lambda token: -len(token.content))
            )
            or "(?!)"
        )

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation, ready for the assistant's turn.

        Raises:
            CheckpointError: the template cannot render this conversation (some forbid a system turn, for example).
        """
        if self._template is None:
            return self.encode_text("\n\n".join(message.content for message in messages))
        mark = _mark(messages)
        return self._ids(self._rendered(messages, mark), mark)

    def encode_dialogue(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """Token ids of a conversation that has taken place, up to its last answer, and which the assistant wrote.

        Its own are its words and the control token that ends its turn. What comes before is encoded as :meth:`encode`
        does it, so that a model which learns from an answer meets the question as it will be asked.

        Raises:
            CheckpointError: the template cannot render this conversation, or does not tell where an answer ends.
        """
        if self._template is None:
            raise CheckpointError("the model has no chat template: nothing says where an answer begins and ends")
        mark = _mark(messages)
        ids: list[int] = []
        own: list[bool] = []
        done = ""
        for i, message in enumerate(messages):
            if message.role != "assistant":
                continue
            asked = self._rendered(messages[:i], mark)
            told = self._rendered(messages[: i + 1], mark, ask=False)
            if not (asked.startswith(done) and told.startswith(asked)):
                raise CheckpointError("the model's chat template rewrites earlier turns: give it one answer at a time")
            words = self._marked(message.content, mark).strip()
            said = told.find(words, len(asked))
            end = self._separators.search(told, said + len(words)) if said >= 0 else None
            if end is None:
                raise CheckpointError("the model's chat template does not end an answer with a control token")
            for text, is_own in ((asked[len(done) :], False), (told[len(asked) : end.end()], True)):
                part = self._ids(text, mark)
                ids += part
                own += [is_own] * len(part)
            done = told[: end.end()]
        return ids, own

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a plain text, begun as the tokenizer begins a text; control tokens in it are characters."""
        ids: list[int] = self._tokenizer.encode(self._harmless(text)).ids
        return ids

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(self._harmless(text), add_special_tokens=False).ids if text else []
        return ids

    def _harmless(self, text: str) -> str:
        """``text`` as the tokenizer may have it. One of unigrams knows its control tokens as words, too: they get a
        blank inside."""
        if self._knows_control_words:
            text = self._control.sub(lambda m: f"{m[0][0]} {m[0][1:]}", text)
        return well_formed(text)

    def _ids(self, rendered: str, mark: str) -> list[int]:
        """Control tokens that are not marked become their id, everything else is plain text."""
        ids: list[int] = []
        position = 0
        for separator in self._separators.finditer(rendered):
            ids += self._plain(rendered[position : separator.start()].replace(mark, ""))
            ids.append(self._control_ids[next(group for group in separator.groups() if group)])
            position = separator.end()
        return ids + self._plain(rendered[position:].replace(mark, ""))

    def _marked(self, text: str, mark: str) -> str:
        return self._control.sub(lambda m: m[0][0] + mark + m[0][1:], text)

    def _rendered(self, messages: Sequence[Message], mark: str, *, ask: bool = True) -> str:
        """The conversation as one text, open for the assistant's turn if it is to ``ask`` for one."""
        turns = [{"role": message.role, "content": self._marked(message.content, mark)} for message in messages]
        return self._template.render(turns, ask=ask, tokens=self._tokens)  # type: ignore[union-attr]


def _alternatives(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or "(?!)")


def _mark(messages: Sequence[Message]) -> str:
    """A character that occurs in no message: one of Unicode's noncharacters, else any from a private plane."""
    used = set().union(*(message.content for message in messages))
    return next(c for c in map(chr, chain(range(0xFDD0, 0xFDF0), range(0xF0000, 0xFFFFE))) if c not in used)
