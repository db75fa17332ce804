"""``GET /account/export``: everything that is stored about whoever asks, for themselves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from community_gql.db import export
from community_gql.db.database import Database
from community_gql.errors import AccountGone, AnswerTooLarge, PublicError, Unauthenticated
from community_gql.http.exchange import Authenticate, EndpointConfig
from community_gql.http.rate_limit import key_of
from community_gql.http.request_log import digest
from community_gql.http.responses import fault, refusal
from community_gql.logs import write_event
from community_gql.telemetry.correlation import current, request_id

POINTS = 100_000
"""What an export is charged: a twelfth of what a person may spend in a minute by default."""
MAX_BYTES = 64 * 2**20
"""The longest export over HTTP, by the texts of the stories."""
SECONDS = 120.0
"""How long it may take: as long it uses one of the person's connections to the database."""

_log = logging.getLogger("community_gql.accounts")


class AccountExport:
    """Answers with a JSON file, piece by piece."""

    def __init__(
        self, database: Database, authenticate: Authenticate, config: EndpointConfig
    ) -> None:
        self._database, self._authenticate, self._config = database, authenticate, config

    async def answer(self, request: Request) -> Response:
        """The file, or a refusal as the endpoint writes it."""
        given = request_id(request.headers.get("x-request-id", "").encode("latin1"))
        current.set(given)
        id_ = given.decode()
        sub: str | None = None
        try:
            viewer = await self._authenticate(request)
            sub = viewer.sub
            if sub is None:
                raise Unauthenticated(
                    "Sign in first: the export has everything about the person who is signed in."
                )
            key = key_of(sub, request.client.host if request.client else None)
            balance = await self._config.budget.charge(key, POINTS)
            found = await export.size(self._database, sub, caller=key)
            if not found.exists:
                raise AccountGone
            if found.bytes > MAX_BYTES:
                raise AnswerTooLarge(MAX_BYTES)
        except Exception as error:
            answer = refusal(error) if isinstance(error, PublicError) else fault(error)
            answer.headers["X-Request-Id"] = id_
            response = answer.response()
            self._authenticate.answered(request, response, sub=sub, account_gone=False)
            return response
        headers = {
            **balance.headers(),
            "Cache-Control": "no-store",
            "Content-Disposition": 'attachment; filename="account.json"',
            "Vary": "Authorization, Cookie",
            "X-Request-Id": id_,
        }
        return StreamingResponse(
            self._written(sub, key, id_), headers=headers, media_type="application/json"
        )

    async def _written(self, sub: str, key: str, id_: str) -> AsyncIterator[bytes]:
        start, length = time.perf_counter(), 0
        deadline = asyncio.get_running_loop().time() + SECONDS
        try:
            async for piece in export.written(self._database, sub, caller=key, deadline=deadline):
                length += len(piece)
                yield piece
        finally:
            told = {
                "request_id": id_,
                "viewer": digest(sub),
                "bytes": length,
                "milliseconds": round((time.perf_counter() - start) * 1000, 1),
            }
            write_event(_log, "account export", told)
