"""Warming: documents are read and compiled before anyone asks for them.

The trusted ones come from their manifests. The others come from the database, where each process
writes which statements it runs most, so that what clients ask for survives a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator

import orjson

from community_gql.db.background import in_background
from community_gql.db.database import Database
from community_gql.db.hot_documents import HotDocument, hottest_documents, remember_documents
from community_gql.db.rights import Rights
from community_gql.errors import PublicError, Unavailable
from community_gql.operations.documents import Refused
from community_gql.operations.pipeline import Operations
from community_gql.operations.prepared import Params

EVERY = 60.0
"""Seconds between two times that a process writes what it runs."""
USES = 3
"""What was run less often in that time is not written."""
SECONDS = 2.0
"""How long the database may take to note it; the end of a process waits no longer."""
PAUSE = 0.02
"""Seconds between two documents: reading one takes up to as long, and others wait for it."""
NOT_KEPT = "the documents that are used most are not kept"
NEEDS = {"hot_documents": "SELECT, INSERT, UPDATE, DELETE"}

_log = logging.getLogger("community_gql.documents")


class HotDocuments:
    """The documents of one process that are worth compiling at once."""

    def __init__(
        self, operations: Operations, database: Database, most: int, every: float = EVERY
    ) -> None:
        """``most`` documents are kept by all processes together; with 0 none are."""
        self._operations, self._database = operations, database
        self._most, self._every = most, every
        self._rights = Rights(database, _log)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Compile them beside the block, and write which are used until its end."""
        async with in_background(self._run()):
            yield
        await self.remember()

    async def warm(self) -> None:
        """Read and compile the trusted documents, then the hot ones, beside the requests.

        Raises Unavailable when the database is away.
        """
        for text in self._operations.trusted.texts():
            await self._warm_trusted(text)
        if self._most:
            for hot in await hottest_documents(self._database, self._most):
                await self._warm(hot)

    async def remember(self) -> None:
        """Write which statements were run since the last time; what cannot be written is lost."""
        if not self._most:
            return
        used = sorted(self._operations.pushdown.used(USES), key=lambda one: -one[1].uses)
        documents = {}
        for (switched, _, _, payload), compilation in used[: self._most]:
            text, name = switched.operation.text, switched.operation.name
            assert compilation.sample is not None
            document = HotDocument(text, name, payload, compilation.sample, compilation.uses)
            documents[document.key] = document  # two whose forms differ may have one sample
            compilation.uses = 0
        if not documents:
            return
        deadline = asyncio.get_running_loop().time() + SECONDS
        try:
            await remember_documents(
                self._database, list(documents.values()), self._most, deadline=deadline
            )
        except Unavailable:
            pass
        except Exception as error:
            if not await self._rights.explains(error, NOT_KEPT, NEEDS):
                _log.error("The documents that are used most could not be kept.", exc_info=error)

    async def _run(self) -> None:
        is_warm = False
        while True:
            is_warm = is_warm or await self._is_warm()
            # Processes that start together do not write together.
            await asyncio.sleep(self._every * random.uniform(0.5, 1))
            await self.remember()

    async def _is_warm(self) -> bool:
        """Warm; False where the database cannot say yet what is hot, as before it is migrated."""
        try:
            await self.warm()
        except Unavailable:
            return False
        except Exception as error:
            if not await self._rights.explains(error, NOT_KEPT, NEEDS):
                _log.error("The documents that are used most could not be read.", exc_info=error)
            return False
        return True

    async def _warm_trusted(self, text: str) -> None:
        """An operation whose variables must be given has no form yet: see its sample."""
        try:
            document = self._operations.documents.get(text)
        except Refused:
            return  # whoever asks for it is told what is wrong
        for operation in document.operations:
            operation.seen = True
            await self._compile(Params(text, operation_name=operation.name), None)
        await asyncio.sleep(PAUSE)

    async def _warm(self, hot: HotDocument) -> None:
        variables = orjson.loads(hot.sample)
        params = Params(hot.text, variables=variables, operation_name=hot.operation)
        await self._compile(params, hot.payload)
        await asyncio.sleep(PAUSE)

    async def _compile(self, params: Params, payload: str | None) -> None:
        try:
            # unscoped: a document of GraphQL, which is not run
            prepared = self._operations.prepare(params, open_schema=True)
        except (Refused, PublicError):
            return  # it does not fit the schema any more, or is not trusted
        prepared.operation.seen = True
        await self._operations.pushdown.compile(prepared, self._operations.near_rows, payload)
