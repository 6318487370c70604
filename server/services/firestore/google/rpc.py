"""Sends the four calls of Firestore's API that the client uses: commit, get, query, aggregate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from google.cloud.firestore_v1 import AsyncClient, types

from server.services.firestore.google.batch import FoldedBatch, Stored
from server.services.firestore.google.calls import Calls
from server.services.firestore.google.values import decode_document
from server.services.firestore.google.writes import commit_request, document_name, versions
from server.services.ports.documents import Document, DocumentKey

GetRequest = types.BatchGetDocumentsRequest.pb()
QueryRequest = types.RunQueryRequest.pb()
AggregationRequest = types.RunAggregationQueryRequest.pb()

T = TypeVar("T")


class Rpc:
    """Firestore's calls, each retried until a deadline (monotonic); for errors see `Calls.run`.

    Messages stay plain protobuf: to wrap one in the library's type costs more than to decode it.
    """

    def __init__(self, google: AsyncClient, calls: Calls) -> None:
        self._api = google._firestore_api
        self._calls = calls
        # No retries by the library: they know neither the deadline nor which writes are unsure.
        self._options: dict[str, Any] = {"retry": None, "metadata": google._rpc_metadata}
        self._database: str = google._database_string
        self.root = f"{self._database}/documents"

    async def close(self) -> None:
        """Close the connection, which ends every call."""
        await self._api.transport.close()

    async def commit(self, batches: Sequence[FoldedBatch], deadline: float) -> list[list[str]]:
        """Store the batches together; return the versions of their writes. Raises WriteRefused."""
        request = types.CommitRequest.wrap(commit_request(batches, self._database))

        async def send(timeout_s: float) -> list[list[str]]:
            response = await self._api.commit(request=request, timeout=timeout_s, **self._options)
            return versions(batches, types.CommitResponse.pb(response))

        return await self._calls.run("write", send, deadline)

    async def stored(
        self, keys: Iterable[DocumentKey], deadline: float
    ) -> Mapping[DocumentKey, Stored]:
        """The version and the writer's token of the documents that exist among these."""
        found = await self._get(keys, deadline)
        return {key: Stored(document.version, token) for key, (document, token) in found.items()}

    async def documents(self, keys: Iterable[DocumentKey], deadline: float) -> list[Document]:
        """The documents that exist among these."""
        return [document for document, _ in (await self._get(keys, deadline)).values()]

    async def time_ms(self, deadline: float) -> float:
        """The time of Firestore's answer to a read of a missing document, in Unix milliseconds."""
        name = document_name(self._database, ("health", "time"))
        request = types.BatchGetDocumentsRequest.wrap(
            GetRequest(database=self._database, documents=[name])
        )

        async def send(timeout_s: float) -> float:
            answers = await self._api.batch_get_documents(
                request=request, timeout=timeout_s, **self._options
            )
            answer = types.BatchGetDocumentsResponse.pb(await anext(aiter(answers)))
            return float(answer.read_time.ToNanoseconds() / 1e6)

        return await self._calls.run("read", send, deadline)

    async def _get(
        self, keys: Iterable[DocumentKey], deadline: float
    ) -> dict[DocumentKey, tuple[Document, str]]:
        wanted = {document_name(self._database, key): key for key in keys}
        if not wanted:
            return {}
        request = types.BatchGetDocumentsRequest.wrap(
            GetRequest(database=self._database, documents=wanted)
        )

        async def send(timeout_s: float) -> dict[DocumentKey, tuple[Document, str]]:
            answers = await self._api.batch_get_documents(
                request=request, timeout=timeout_s, **self._options
            )
            found = {}
            async for answer in answers:
                bare = types.BatchGetDocumentsResponse.pb(answer)
                if bare.HasField("found"):
                    found[wanted[bare.found.name]] = decode_document(bare.found)
            return found

        return await self._calls.run("read", send, deadline)

    async def query(self, asked: Any, deadline: float, attempt_s: float) -> list[Document]:
        """The documents of a structured query, in its order."""
        request = types.RunQueryRequest.wrap(QueryRequest(parent=self.root, structured_query=asked))

        async def send(timeout_s: float) -> list[Document]:
            answers = await self._api.run_query(request=request, timeout=timeout_s, **self._options)
            found = []
            async for answer in answers:
                bare = types.RunQueryResponse.pb(answer)
                if bare.HasField("document"):
                    found.append(decode_document(bare.document)[0])
            return found

        return await self._calls.run("read", send, deadline, attempt_s)

    async def aggregation(self, asked: Any, deadline: float) -> float | None:
        """The result of a structured aggregation; None if no document has a value to average."""
        request = types.RunAggregationQueryRequest.wrap(
            AggregationRequest(parent=self.root, structured_aggregation_query=asked)
        )

        async def send(timeout_s: float) -> float | None:
            answers = await self._api.run_aggregation_query(
                request=request, timeout=timeout_s, **self._options
            )
            result: float | None = None
            async for answer in answers:
                for value in types.RunAggregationQueryResponse.pb(
                    answer
                ).result.aggregate_fields.values():
                    kind = value.WhichOneof("value_type")
                    result = None if kind == "null_value" else getattr(value, kind)
            return result

        # One attempt until the deadline: a slow aggregation would not be faster in a retry.
        return await self._calls.run("read", send, deadline, attempt_s=math.inf)
