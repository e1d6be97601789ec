"""``LangBertRecordManager``: what LangChain's ``index()`` remembers, in the same file as the documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.indexing import RecordManager
from langchain_core.runnables import run_in_executor

from langbert import StoreLike


class LangBertRecordManager(RecordManager):
    """Which documents are indexed, when and from which source. Made by ``vectorstore.record_manager(namespace)``.

    One file and one lock with the documents. A document deleted from the store is forgotten here in the same commit,
    so the next ``index()`` adds it again instead of skipping it. Times never go back, even if the machine's clock does.

    Example:
        >>> from langchain_core.documents import Document
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> from langchain_core.indexing import index
        >>> from langchain_langbert import LangBertVectorStore
        >>> store = LangBertVectorStore(DeterministicFakeEmbedding(size=8))
        >>> documents = [Document(page_content="Bees make honey.", metadata={"source": "bees.md"})]
        >>> how = {"cleanup": "incremental", "source_id_key": "source", "key_encoder": "blake2b"}
        >>> index(documents, store.record_manager(), store, **how)["num_added"]
        1
        >>> index(documents, store.record_manager(), store, **how)["num_skipped"]
        1
    """

    def __init__(self, store: StoreLike, namespace: str) -> None:
        super().__init__(namespace)
        self._ledger = store.ledger(namespace)

    def create_schema(self) -> None:
        """Nothing has to be made: the first record does it."""

    def get_time(self) -> float:
        return self._ledger.now()

    def update(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """Records ``keys`` as seen now, all or none. A key renewed without a group keeps its group.

        Raises:
            ValueError: there are not as many groups as keys, or ``time_at_least`` is in the future.
        """
        now = self.get_time()
        if time_at_least is not None and time_at_least > now:
            raise ValueError(f"time_at_least must be in the past; got {time_at_least}, it is {now}")
        groups = None if group_ids is None else [None if group is None else str(group) for group in group_ids]
        self._ledger.record(keys, groups, at=now)

    def exists(self, keys: Sequence[str]) -> list[bool]:
        known = self._ledger.known(keys)
        return [key in known for key in keys]

    def list_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """The oldest first. An empty list of groups finds nothing."""
        groups = None if group_ids is None else [str(group) for group in group_ids]
        return self._ledger.keys(before=before, after=after, groups=groups, limit=limit)

    def delete_keys(self, keys: Sequence[str]) -> None:
        self._ledger.forget(keys)

    # --- the same in worker threads ----------------------------------------------------------------------------------

    async def acreate_schema(self) -> None:
        await run_in_executor(None, self.create_schema)

    async def aget_time(self) -> float:
        return await run_in_executor(None, self.get_time)

    async def aupdate(self, keys: Sequence[str], **options: Any) -> None:
        await run_in_executor(None, self.update, keys, **options)

    async def aexists(self, keys: Sequence[str]) -> list[bool]:
        return await run_in_executor(None, self.exists, keys)

    async def alist_keys(self, **options: Any) -> list[str]:
        return await run_in_executor(None, self.list_keys, **options)

    async def adelete_keys(self, keys: Sequence[str]) -> None:
        await run_in_executor(None, self.delete_keys, keys)
