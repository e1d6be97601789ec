"""``GroundingMiddleware``: an agent's answer, checked against what its tools found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast, get_args

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.content import ContentBlock, TextContentBlock
from langchain_core.runnables import run_in_executor

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState
    from langgraph.runtime import Runtime
except ImportError as error:
    raise ImportError("GroundingMiddleware needs LangChain's agents: pip install 'langbert[agents]'") from error

from langbert import Candidate, Chunk
from langbert.answering import claims
from langbert.errors import require_choice
from langbert.records import Unsupported

from ._annotated import annotated
from ._convert import passages_of

_FOUND = 0.5  # the score of a passage of which nobody has said how relevant it is


class GroundingMiddleware(AgentMiddleware):
    """Checks the final answer of ``create_agent``, sentence by sentence, against the results of the tools.

    When the agent is done, each sentence of its answer that claims something is looked up in what the tools have
    returned in the conversation: their documents, where a tool returns them as its artifact, else their text. A
    sentence that they hold gets a ``Citation`` annotation in the message's content blocks: ``start_index`` and
    ``end_index`` of the sentence, ``cited_text``, and in ``extras`` the fields of :class:`langbert.Citation`, so that
    the exact words can be opened. What is said to the reader about the search, headings, questions and code claim
    nothing. It needs no model and works with any.

    The sentences that nothing supports are listed in ``response_metadata["langbert"]["unsupported"]``. The answer is
    checked when it is whole: who streams its tokens sees them before.

    Args:
        unsupported: what becomes of a sentence that no result supports: ``"mark"`` shows ``[?]`` behind it, ``"drop"``
            leaves it out (where nothing is left, the answer says that the documents do not tell), ``"keep"`` changes
            nothing.

    Example:
        >>> from langchain.agents import create_agent  # doctest: +SKIP
        >>> tools = [LangBertSearchTool(store=vectorstore)]  # doctest: +SKIP
        >>> agent = create_agent(model, tools, middleware=[GroundingMiddleware()])  # doctest: +SKIP
        >>> answer = agent.invoke({"messages": ["How long may a line be?"]})["messages"][-1]  # doctest: +SKIP
        >>> answer.content_blocks[0]["annotations"][0]["extras"]["quote"]  # doctest: +SKIP
        'Limit all lines to a maximum of 79 characters.'
    """

    def __init__(self, *, unsupported: Unsupported = "mark") -> None:
        super().__init__()
        require_choice("unsupported", unsupported, get_args(Unsupported))
        self.unsupported: Unsupported = unsupported

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """The answer with its citations, in the place of the one that is there; nothing where there is none."""
        messages = state["messages"]
        answer = messages[-1] if messages else None
        # structured answers are for programs, calls that were not made are no answer
        if not isinstance(answer, AIMessage) or answer.tool_calls or state.get("structured_response") is not None:
            return None
        return {"messages": [self._checked(answer, messages[:-1])]} if answer.text.strip() else None

    async def aafter_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """:meth:`after_agent` in a worker thread."""
        return await run_in_executor(None, self.after_agent, state, runtime)

    def _checked(self, answer: AIMessage, before: Sequence[BaseMessage]) -> AIMessage:
        question = next((str(m.text) for m in reversed(before) if isinstance(m, HumanMessage)), "")
        candidates = _results(before)
        blocks: list[ContentBlock] = []
        wrong: list[str] = []
        supported = 0
        for block in answer.content_blocks:
            if block["type"] == "text":
                text = block["text"]
                found = claims.checked(text, candidates, question)
                wrong += [text[claim.start : claim.end] for claim in found if claim.evidence is None]
                supported += sum(claim.evidence is not None for claim in found)
                blocks.append(annotated(block, found, self.unsupported))
            else:
                blocks.append(block)
        if self.unsupported == "drop" and wrong and not supported:
            blocks = [block for block in blocks if block["type"] != "text"]
            blocks.append(TextContentBlock(type="text", text=claims.not_found(question), annotations=[]))
        told = {**answer.response_metadata, "output_version": "v1", "langbert": {"unsupported": wrong}}
        return answer.model_copy(update={"content": cast("list[Any]", blocks), "response_metadata": told})


def _results(messages: Sequence[BaseMessage]) -> list[Candidate]:
    """What the tools have returned, each passage once, as what may be quoted."""
    found: dict[tuple[str, int, str], Candidate] = {}
    for message in messages:
        if isinstance(message, ToolMessage) and message.status != "error":
            for chunk in _passages(message):
                found.setdefault((chunk.document_id, chunk.start, chunk.text), Candidate(chunk, _FOUND))
    return list(found.values())


def _passages(message: ToolMessage) -> list[Chunk]:
    """The documents that a tool has returned, or else its text, which is then a document by the name of the call."""
    documents = message.artifact
    if not isinstance(documents, list) or not documents or not all(isinstance(one, Document) for one in documents):
        name = message.name or ""
        return [Chunk(message.tool_call_id, message.tool_call_id, str(message.text), source=name)]
    chunks = passages_of(documents)
    return [
        chunk if chunk.document_id else replace(chunk, document_id=f"{message.tool_call_id}:{number}")
        for number, chunk in enumerate(chunks)
    ]
