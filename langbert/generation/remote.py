"""RemoteGenerator: the assistant's turn from a server that speaks OpenAI's API: Ollama, llama.cpp, vLLM, a provider.

What is sent goes to that server and nowhere else; nothing is sent before a text is asked for.
"""

from __future__ import annotations

import difflib
import threading
import weakref
from collections.abc import Generator as PythonGenerator
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ..errors import GenerationError, MissingExtra
from ..models.configured import Configured
from ..records import Generation, Message
from ..text.unicode import well_formed
from .chat import checked_messages
from .sampling import Sampling
from .streaming import GenerationStream, StopStrings

if TYPE_CHECKING:
    from openai.types import Model
    from typing_extensions import Unpack

    from .sampling import StreamOptions

_CONTEXT_LENGTH = 4096
"""What a server is taken to read where neither the user nor the server says: Ollama's default. It cuts what is longer
without a word, so that a guess should be on the short side."""

_CONTEXT_KEYS = ("max_model_len", "context_length", "context_window")
"""How servers call it in their list of models, which OpenAI's API does not define: vLLM, OpenRouter, Groq."""

_MOST_STOPS = 4  # OpenAI's API takes no more; all of them are looked for here, too
_BYTES_A_TOKEN = 3
_TOKENS_A_TURN = 8


class RemoteGenerator(Configured):
    """A model behind a URL, in the place of a :class:`langbert.Generator`.

    Safe to use from several threads. A pickle of it holds the key.

    Args:
        base_url: where the API begins, for example ``http://localhost:11434/v1``.
        model: its name there.
        api_key: what the server wants to see; None is for servers that want nothing. Keys in the environment are not
            sent.
        context_length: the most tokens that prompt and answer may have together; None asks the server's list of models
            when it is needed, and takes 4096 if that does not tell.
        timeout: seconds the server may be silent, before its first word and between two.
        retries: how often a request is made again that found no server, too many requests or a failure of the server.
        extra: fields that go along with each request, for what this server knows beyond OpenAI's API, for example
            ``{"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}}``.

    Raises:
        MissingExtra: ``langbert[remote]`` is not installed.
        ValueError: ``base_url`` is not one of http or https, or the model has no name.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        context_length: int | None = None,
        timeout: float = 120.0,
        retries: int = 2,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingExtra("openai", "remote", "a generator behind a URL") from error
        if not base_url.lower().startswith(("http://", "https://")):
            raise ValueError(f"base_url is {base_url!r}, expected something like http://localhost:11434/v1")
        if not model:
            raise ValueError("model is empty: give the name it has on the server")
        self.name = model
        self.base_url = base_url
        self.timeout = timeout
        self._context_length = context_length
        self._extra = dict(extra or {})
        # without one the client would send the key for OpenAI that may stand in the environment
        self._client = openai.OpenAI(base_url=base_url, api_key=api_key or "none", timeout=timeout, max_retries=retries)
        weakref.finalize(self, self._client.close)  # the connections it keeps open

    @cached_property
    def context_length(self) -> int:
        """The most tokens that prompt and answer may have together.

        Raises:
            GenerationError: the server had to be asked and did not answer.
        """
        if self._context_length is not None:
            return self._context_length
        told = next((entry.model_extra or {} for entry in self._models() if entry.id == self.name), {})
        return next((n for key in _CONTEXT_KEYS if isinstance(n := told.get(key), int) and n > 0), _CONTEXT_LENGTH)

    def count_tokens(self, messages: Sequence[Message] | str) -> int:
        """An estimate, rather too high than too low: a token for three bytes of UTF-8, which is a Chinese character or
        most of a short word, and eight for each turn."""
        if isinstance(messages, str):
            return -(-len(well_formed(messages).encode()) // _BYTES_A_TOKEN)
        return sum(_TOKENS_A_TURN + self.count_tokens(message.content) for message in checked_messages(messages))

    def stream(
        self,
        messages: Sequence[Message] | str,
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> GenerationStream:
        """The assistant's next turn, in pieces as they come; the request is made as the first is asked for.

        Args:
            messages: the conversation; a string is one user message.
            max_tokens: the longest answer.
            stop: writing ends where one of these is completed; it and what follows is left out.
            temperature, top_p, seed: see :class:`langbert.generation.sampling.Sampling`.

        Raises:
            GenerationError: there are no messages; as pieces are taken: the server cannot be reached, refuses, or
                breaks off.
            ValueError: an argument is out of its range.
        """
        Sampling(temperature, top_p, seed=seed)
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}, expected at least 1")
        stops, turns = StopStrings(stop), checked_messages(messages)
        request: dict[str, Any] = {
            "messages": [{"role": turn.role, "content": well_formed(turn.content)} for turn in turns],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
        }
        if stop:
            request["stop"] = [stop] if isinstance(stop, str) else list(stop)[:_MOST_STOPS]
        if seed is not None:
            request["seed"] = seed
        return GenerationStream(partial(self._write, request, self.count_tokens(turns), stops))

    def generate(self, messages: Sequence[Message] | str, **options: Unpack[StreamOptions]) -> Generation:
        """The assistant's next turn, whole; options and errors are those of :meth:`stream`."""
        return self.stream(messages, **options).finish()

    def _write(
        self, request: Mapping[str, Any], prompt_tokens: int, stops: StopStrings, closed: threading.Event
    ) -> PythonGenerator[str, None, Generation | None]:
        import openai

        shown: list[str] = []
        finished = usage = events = None
        try:
            events = self._client.chat.completions.create(
                model=self.name,
                stream=True,
                stream_options={"include_usage": True},
                extra_body=self._extra,
                **request,
            )
            with events:
                for event in events:
                    if closed.is_set():
                        return None
                    usage = event.usage or usage
                    for choice in (event.choices or ())[:1]:
                        finished = choice.finish_reason or finished
                        if piece := stops.push(choice.delta.content or ""):
                            shown.append(piece)
                            yield piece
                    if stops.stopped:
                        break
        except (openai.OpenAIError, ValueError) as error:  # ValueError: what came is not JSON
            raise self._explained(error, prompt_tokens, begun=events is not None) from error
        if not stops.stopped and finished is None:
            raise GenerationError(
                f"{self.base_url} broke off, or what answers there is not OpenAI's API: no reason came why the text "
                f"ends after {len(''.join(shown))} characters"
            )
        if piece := stops.flush():
            shown.append(piece)
            yield piece
        text = "".join(shown)
        return Generation(
            text=text,
            prompt_tokens=usage.prompt_tokens if usage else prompt_tokens,
            completion_tokens=usage.completion_tokens if usage else self.count_tokens(text),
            finish_reason="length" if finished == "length" and not stops.stopped else "stop",
        )

    def _models(self) -> list[Model]:
        """What the server offers; nothing where it has no such list."""
        import openai

        try:
            return list(self._client.models.list().data or ())
        except openai.NotFoundError:
            return []
        except (openai.OpenAIError, ValueError, AttributeError) as error:  # a page that is no list has no data
            raise self._explained(error) from error

    def _explained(self, error: Exception, prompt_tokens: int = 0, *, begun: bool = False) -> GenerationError:
        """What went wrong, in words that say what to do."""
        import openai

        said = str(error) or type(error).__name__
        match error:
            case openai.APITimeoutError():
                told = f"{self.base_url} said nothing for {self.timeout:g} s: is it still loading? (timeout=…)"
            case openai.APIConnectionError() if not begun:
                told = f"no server answers at {self.base_url} ({error.__cause__ or said}): is it running?"
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                told = f"{self.base_url} refuses the key, or wants one (api_key=…): {said}"
            case openai.NotFoundError():
                told = self._not_found()
            case openai.APIStatusError() if _overflows(error):
                told = (
                    f"the prompt, some {prompt_tokens} tokens, is too long for {self.name}: shorten it, lower "
                    f"max_tokens, or start the server with a longer context; {self.base_url} says: {said}"
                )
            case openai.APIStatusError():
                told = f"{self.base_url} refuses: {said}"
            case openai.APIError() if begun:
                told = f"{self.base_url} broke off: {error.__cause__ or said}"
            case _:
                told = f"what {self.base_url} sends is not OpenAI's API: {said}"
        return GenerationError(told)

    def _not_found(self) -> str:
        names = [entry.id for entry in self._models()]
        if not names or self.name in names:
            return f"there is no OpenAI API at {self.base_url}: most such URLs end with /v1"
        near = difflib.get_close_matches(self.name, names, n=3, cutoff=0.4) or names[:10]
        return f"{self.base_url} has no model {self.name!r}; it has {', '.join(near)}"


def _overflows(error: Any) -> bool:
    """Whether the server finds the prompt too long, which each of them says in its own way."""
    said = f"{error.code} {error.type} {error}".lower()
    return error.status_code == 413 or (400 <= error.status_code < 500 and "context" in said)
