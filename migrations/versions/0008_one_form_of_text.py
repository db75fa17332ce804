"""one form of text

Texts in Unicode's form NFC, as the API writes them from now on, so that the composed and the
decomposed "café" are one. Tags that become equal are merged, into the one that has the name
already or else the oldest. People are found and ordered by their names without accents.

Row by row or in batches that each commit, outside of a transaction, while the application works;
an interrupted run goes on when it is started again. Going back leaves the texts as they are then.
A text that NFC would make too long stays, and so does a habit whose owner has the same name twice:
a person has to decide about those. ``updated_at`` of the stories and profiles that change moves.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels = None
depends_on = None

BATCH = 1_000

WITHOUT_ACCENTS = r"""
    CREATE OR REPLACE FUNCTION without_accents(name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
      SELECT normalize(regexp_replace(normalize(name, NFD), '[\u0300-\u036f]', '', 'g'), NFC)
    $$
"""

OLD_KEY = "lower(coalesce(trim(p.display_name), ''))"
NEW_KEY = "lower(without_accents(coalesce(trim(p.display_name), '')))"

TEXTS: dict[tuple[str, str], dict[str, int]] = {
    ("stories", "id"): {"title": 140, "content": 100_000},
    ("user_profiles", "user_id"): {"display_name": 80, "bio": 2_000},
    ("gardens", "id"): {"name": 80, "theme": 40},
    ("habits", "id"): {"name": 80},
}
"""The columns that hold what people write, and the most characters of each."""

UNIQUE = {
    "habits": """
        AND NOT EXISTS (
          SELECT FROM habits o
          WHERE o.user_id = t.user_id AND o.id <> t.id
            AND normalize(o.name, NFC) = normalize(t.name, NFC)
        )
    """
}
"""What else must hold, where two texts must not become the same."""


def fold(name: str) -> str:
    """Return a tag's name as the API writes it. A copy: a migration must not change later."""
    lower = " ".join(unicodedata.normalize("NFC", name).split()).lower()
    return unicodedata.normalize("NFC", lower.replace("i\u0307", "i"))


def run(statement: str, **values: Any) -> sa.CursorResult[Any]:
    """Run a statement that commits by itself."""
    return op.get_bind().execute(sa.text(statement), values)


def merge(source: int, target: int) -> None:
    """Replace one tag by another, in batches, and delete the first."""
    for table, owner, type_ in (
        ("story_tags", "story_id", "bigint"),
        ("user_tags", "user_id", "text"),
    ):
        while owners := list(
            run(
                f"SELECT {owner} FROM {table} WHERE tag_id = :tag ORDER BY 1 LIMIT :most",
                tag=source, most=BATCH,
            ).scalars()
        ):  # fmt: skip
            these = f"ANY(CAST(:owners AS {type_}[]))"
            run(
                f"INSERT INTO {table} ({owner}, tag_id) "
                f"SELECT {owner}, :target FROM {table} WHERE tag_id = :tag AND {owner} = {these} "
                "ON CONFLICT DO NOTHING",
                owners=owners, tag=source, target=target,
            )  # fmt: skip
            run(
                f"DELETE FROM {table} WHERE tag_id = :tag AND {owner} = {these}",
                owners=owners, tag=source,
            )  # fmt: skip
    run("DELETE FROM tags WHERE id = :tag", tag=source)


def fold_tags() -> None:
    """Fold the vocabulary."""
    known = {row.name: row.id for row in run("SELECT id, name FROM tags ORDER BY id")}
    for name, tag in list(known.items()):
        folded = fold(name)
        if folded == name or not folded or len(folded) > 64:
            continue
        if folded in known:
            merge(tag, known[folded])
        else:
            run("UPDATE tags SET name = :name WHERE id = :tag", name=folded, tag=tag)
            known[folded] = tag


def batches(table: str, key: str) -> Any:
    """Yield the bounds of the keys of a table, so many rows at a time: above one, up to another."""
    after: Any = None
    while True:
        later = "" if after is None else f"WHERE {key} > :after"
        upto = run(
            f"SELECT max({key}) FROM (SELECT {key} FROM {table} {later} ORDER BY {key} LIMIT :most)"
            " AS batch",
            most=BATCH, **({} if after is None else {"after": after}),
        ).scalar()  # fmt: skip
        if upto is None:
            return
        within = f"t.{key} <= :upto" + ("" if after is None else f" AND t.{key} > :after")
        yield within, {"upto": upto} | ({} if after is None else {"after": after})
        after = upto


def compose_texts() -> None:
    """Bring what people wrote into NFC."""
    for (table, key), columns in TEXTS.items():
        for within, bounds in batches(table, key):
            for column, longest in columns.items():
                run(
                    f"UPDATE {table} t SET {column} = normalize({column}, NFC) "
                    f"WHERE {within} AND {column} IS NOT NFC NORMALIZED "
                    f"AND char_length(normalize({column}, NFC)) <= {longest} "
                    f"{UNIQUE.get(table, '')}",
                    **bounds,
                )


def set_name_keys(formula: str) -> None:
    """Make ``users.name_key`` what the trigger would make it."""
    for within, bounds in batches("users", "auth0_sub"):
        run(
            f"UPDATE users t SET name_key = {formula} FROM user_profiles p "
            f"WHERE {within} AND p.user_id = t.auth0_sub AND t.name_key <> {formula}",
            **bounds,
        )


def replace_in_trigger(old: str, new: str) -> None:
    """Change how the trigger makes ``users.name_key``."""
    text = run("SELECT pg_get_functiondef(to_regprocedure('profiles_changed()'))").scalar_one()
    if new not in text:
        assert old in text, "profiles_changed() is not ours"
        op.get_bind().exec_driver_sql(text.replace(old, new))


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.get_bind().exec_driver_sql(WITHOUT_ACCENTS)
        replace_in_trigger(OLD_KEY, NEW_KEY)
        fold_tags()
        compose_texts()
        set_name_keys(NEW_KEY)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        replace_in_trigger(NEW_KEY, OLD_KEY)
        set_name_keys(OLD_KEY)
        op.execute("DROP FUNCTION IF EXISTS without_accents(text)")
