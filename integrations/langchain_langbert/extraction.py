"""``LangBertExtractor``: entities and relations for LangChain's documents and graph stores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.documents import BaseDocumentTransformer, Document

from langbert import Extraction, Extractor
from langbert.errors import MissingExtra

if TYPE_CHECKING:
    from langchain_community.graphs.graph_document import GraphDocument

_UNTYPED = "Entity"  # what a node is where the model tells no types apart


class LangBertExtractor(BaseDocumentTransformer):
    """Finds the entities of documents, and how they are related, with a model that ``langbert train relations`` made.

    Every entity is characters of its document: ``page_content[start:end] == text``, always.

    Args:
        model: a folder, or a :class:`langbert.Extractor` with the options of one's choice.

    Example:
        >>> from langchain_langbert import LangBertExtractor
        >>> extractor = LangBertExtractor("my-extractor/model")  # doctest: +SKIP
        >>> extractor.transform_documents(documents)[0].metadata["triples"]  # doctest: +SKIP
        >>> graph.add_graph_documents(extractor.graph_documents(documents))  # doctest: +SKIP
    """

    def __init__(self, model: str | Path | Extractor) -> None:
        self.extractor = model if isinstance(model, Extractor) else Extractor(model)

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """Copies of the documents whose metadata say what was found in them.

        ``"entities"`` is a list of ``{"text", "label", "start", "end", "score"}``, ``"triples"`` one of ``{"subject",
        "relation", "object", "score"}`` with entities as subject and object.
        """
        transformed = []
        for document, found in zip(documents, self._extract(documents), strict=True):
            said = found.to_dict()
            copy = document.model_copy(deep=True)
            copy.metadata.update(entities=said["entities"], triples=said["triples"])
            transformed.append(copy)
        return transformed

    def graph_documents(self, documents: Sequence[Document]) -> list[GraphDocument]:
        """A graph of each document, as ``add_graph_documents`` of LangChain's graph stores takes it.

        A node is an entity, its id the words as they stand; the same words of the same type are one node. Relationships
        carry their score and, as ``subject_start`` and the like, the characters they were read off.

        Raises:
            MissingExtra: langchain-community, whose class it is, is not installed.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # that nobody adds to it any more
                from langchain_community.graphs.graph_document import GraphDocument, Node, Relationship
        except ImportError as error:
            raise MissingExtra("langchain-community", "graphs", "making graph documents") from error
        graphs = []
        for document, found in zip(documents, self._extract(documents), strict=True):
            nodes = {(one.text, one.label): Node(id=one.text, type=one.label or _UNTYPED) for one in found.entities}
            relationships = [
                Relationship(
                    source=nodes[one.subject.text, one.subject.label],
                    target=nodes[one.object.text, one.object.label],
                    type=one.relation,
                    properties={
                        "score": round(one.score, 4),
                        "subject_start": one.subject.start,
                        "subject_end": one.subject.end,
                        "object_start": one.object.start,
                        "object_end": one.object.end,
                    },
                )
                for one in found.triples
            ]
            source = Document(id=document.id, page_content=document.page_content, metadata=deepcopy(document.metadata))
            graphs.append(GraphDocument(nodes=list(nodes.values()), relationships=relationships, source=source))
        return graphs

    def _extract(self, documents: Sequence[Document]) -> list[Extraction]:
        return self.extractor.extract_all([document.page_content for document in documents])
