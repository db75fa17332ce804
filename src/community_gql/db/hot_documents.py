"""The documents that clients ask for most, kept in the database for the next process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import text

from community_gql.db.database import Database, Transaction

_WEIGHT = "uses * power(0.5, extract(epoch FROM now() - used_at) / 86400)"
"""How often a document was used, where a use of yesterday counts half."""
_DAYS = 30
"""What was not used for so long is forgotten."""

# unscoped: documents without anybody's values; those who write wait for each other
_LOCK = text("LOCK TABLE hot_documents IN SHARE ROW EXCLUSIVE MODE")
# unscoped: documents without anybody's values
_REMEMBER = text(f"""
    INSERT INTO hot_documents AS known (key, text, operation, payload, sample, uses)
    SELECT * FROM unnest(
      CAST(:keys AS bytea[]), CAST(:texts AS text[]), CAST(:operations AS text[]),
      CAST(:payloads AS text[]), CAST(:samples AS text[]), CAST(:uses AS float8[])
    )
    ON CONFLICT (key) DO UPDATE
      SET uses = {_WEIGHT.replace("uses", "known.uses").replace("used_at", "known.used_at")}
        + excluded.uses, used_at = now()
""")
# unscoped: documents without anybody's values
_FORGET = text(f"""
    DELETE FROM hot_documents WHERE used_at < now() - interval '{_DAYS} days' OR key NOT IN (
      SELECT key FROM hot_documents ORDER BY {_WEIGHT} DESC, key LIMIT :most
    )
""")
# unscoped: documents without anybody's values
_HOTTEST = text(f"""
    SELECT text, operation, payload, sample, uses FROM hot_documents
    ORDER BY {_WEIGHT} DESC, key LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class HotDocument:
    """A document with one form of variables."""

    text: str
    operation: str | None
    """The name of its operation."""
    payload: str | None
    """The response key of a mutation's payload, which is read by a statement of its own."""
    sample: str
    """Variables as JSON, without anybody's values."""
    uses: float

    @property
    def key(self) -> bytes:
        """What names it: a SHA-256 of everything but the uses."""
        named = [self.text, self.operation, self.payload, self.sample]
        return hashlib.sha256(orjson.dumps(named)).digest()


async def remember_documents(
    database: Database, documents: Sequence[HotDocument], most: int, *, deadline: float
) -> None:
    """Count the uses of documents, and keep the ``most`` used ones of all processes.

    Raises Unavailable when the database is away or ``deadline`` has passed.
    """

    async def write(session: Transaction) -> None:
        await session.run(_LOCK)
        given = {
            "keys": [document.key for document in documents],
            "texts": [document.text for document in documents],
            "operations": [document.operation for document in documents],
            "payloads": [document.payload for document in documents],
            "samples": [document.sample for document in documents],
            "uses": [document.uses for document in documents],
        }
        await session.run(_REMEMBER, given)
        await session.run(_FORGET, {"most": most})

    await database.write(write, deadline=deadline, followed=False)


async def hottest_documents(database: Database, most: int) -> list[HotDocument]:
    """So many documents, the most used first. Raises Unavailable when the database is away."""

    async def read(session: Transaction) -> list[HotDocument]:
        return [HotDocument(*row) for row in await session.run(_HOTTEST, {"most": most})]

    return await database.write(read, followed=False)
