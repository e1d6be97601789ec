"""``ChatLangBert``: :class:`langbert.Generator` as a LangChain chat model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.language_models.chat_models import agenerate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import AliasChoices, ConfigDict, Field, model_validator

from langbert.records import Generation

from ._convert import messages_of
from ._fields import check_fields
from ._threads import iterate_in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langbert import Generator

Precision = Literal["auto", "float32", "bfloat16"]
_OPTIONS = ("temperature", "max_tokens", "top_p", "top_k", "repetition_penalty", "seed")
_NO_EFFECT = ("api_key", "max_retries", "timeout")  # LangChain's standard parameters: there is no server to ask
_NO_SERVER = "it runs on this machine; for a server take the chat model of that server's package"
_LOADING = Lock()


class ChatLangBert(BaseChatModel):
    """A small GPT-style chat model on this machine.

    The model is loaded when first used and shared by all instances that ask for the same one. It streams token by
    token; leaving a ``stream`` or ``astream`` early, or cancelling an ``ainvoke``, stops the decoder. Text only: tool
    calling and structured output are not supported, and ``bind_tools`` and ``with_structured_output`` raise
    ``NotImplementedError``.

    Example:
        >>> from langchain_langbert import ChatLangBert
        >>> chat = ChatLangBert(temperature=0.7, seed=1)  # doctest: +SKIP
        >>> for piece in chat.stream("Say hello."):  # doctest: +SKIP
        ...     print(piece.text, end="")

    Attributes:
        model: a catalogue name, a hub id, a folder or a ``.gguf`` file. ``model_name`` is the same.
        temperature: 0 = always the likeliest token.
        max_tokens: the longest answer.
        top_p: sample from the likeliest tokens that hold this much probability.
        top_k: sample from so many likeliest tokens; 0 = all.
        repetition_penalty: above 1, tokens that were used already become less likely.
        seed: makes sampling repeatable.
        stop: strings that end the answer; they are not part of it.
        streaming: ``invoke`` streams too, for callbacks that want tokens.
        precision: ``"auto"``, ``"float32"`` or ``"bfloat16"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` …
        threads: CPU threads; None = all that help.
        offline: True never touches the network.

    All of these down to ``stop`` can be given for one call too: ``chat.invoke(…, max_tokens=20)``,
    ``chat.bind(stop=["\\n"])``. ``api_key``, ``timeout`` and ``max_retries``, which LangChain gives to every chat
    model, have no effect; any other field it does not know is an error.
    """

    model: str = Field(default="smollm2-135m-instruct", validation_alias=AliasChoices("model", "model_name"))
    temperature: float = Field(default=0.0, ge=0.0)
    max_tokens: int = Field(default=256, ge=1)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    repetition_penalty: float = Field(default=1.0, gt=0.0)
    seed: int | None = None
    stop: list[str] | None = None
    streaming: bool = False
    precision: Precision = "auto"
    device: str = "auto"
    threads: int | None = None
    offline: bool | None = None

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_fields(cls, values: Any) -> Any:
        own = {key: value for key, value in values.items() if key not in _NO_EFFECT}
        return check_fields(cls, own, base_url=_NO_SERVER)

    @property
    def model_name(self) -> str:
        """The model, under the name other integrations have for it."""
        return self.model

    @property
    def generator(self) -> Generator:
        """The core object, loaded if it is not yet."""
        return self._generator(self.model)

    def _generator(self, model: str) -> Generator:
        with _LOADING:
            return _load(model, self.precision, self.device, self.threads, self.offline)

    @property
    def _llm_type(self) -> str:
        return "langbert-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """All that decides what the model writes: the key of LangChain's caches."""
        return {name: getattr(self, name) for name in ("model", *_OPTIONS, "stop", "precision")}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return super()._get_ls_params(stop=stop or self.stop, **kwargs)

    def get_num_tokens(self, text: str) -> int:
        """Tokens of ``text``, as the model counts them."""
        return self.generator.count_tokens(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Tokens of the whole prompt that ``messages`` become."""
        if tools:
            raise NotImplementedError("ChatLangBert does not call tools")
        return self.generator.count_tokens(messages_of(messages))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        generator, options = self._call(stop, kwargs)
        generation = generator.generate(messages_of(messages), **options)
        message = AIMessage(
            generation.text,
            usage_metadata=_usage(generation),
            response_metadata={"finish_reason": generation.finish_reason, "model_name": generator.name},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, **kwargs))  # a stream can be cancelled

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        generator, options = self._call(stop, kwargs)
        with generator.stream(messages_of(messages), **options) as stream:  # closed with this iterator
            for piece in stream:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=_usage(stream.generation),
                response_metadata={"finish_reason": stream.generation.finish_reason, "model_name": generator.name},
                chunk_position="last",
            )
        )

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        return iterate_in_thread(lambda: self._stream(messages, stop, **kwargs))

    def _call(self, stop: list[str] | None, overrides: dict[str, Any]) -> tuple[Generator, dict[str, Any]]:
        """The decoder for one call, and its options: this instance's, with the call's own on top."""
        overrides = {key: value for key, value in overrides.items() if key != "stream"}  # LangChain's, not ours
        unknown = sorted(overrides.keys() - {"model", *_OPTIONS})
        if unknown:
            raise TypeError(
                f"ChatLangBert does not know {', '.join(unknown)}: a call takes model, {', '.join(_OPTIONS)} and stop"
            )
        options = {name: overrides.get(name, getattr(self, name)) for name in _OPTIONS}
        return self._generator(overrides.get("model", self.model)), options | {"stop": stop or self.stop or ()}


def _usage(generation: Generation) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=generation.prompt_tokens,
        output_tokens=generation.completion_tokens,
        total_tokens=generation.prompt_tokens + generation.completion_tokens,
    )


@lru_cache(maxsize=2)
def _load(model: str, precision: Precision, device: str, threads: int | None, offline: bool | None) -> Generator:
    from langbert import Generator

    return Generator(model, precision=precision, device=device, threads=threads, offline=offline)
