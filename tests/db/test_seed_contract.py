"""The seed's sample SQL is the contract for its nine tables; the models say what goes beyond it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from community_gql.db.models import Base
from tests.db.catalog import Catalog, catalog, differences

Make = Callable[..., Awaitable[str]]
Connect = Callable[[str], Awaitable[asyncpg.Connection]]

SEED = Path(__file__).with_name("seed.sql")

NINE = {
    "users", "user_profiles", "tags", "user_tags", "stories", "habits", "gardens",
    "user_features", "match_results",
}  # fmt: skip

# Where the seed lets a column be empty that always has a value: a frontend gets non-null types.
NOT_NULL = {
    "users.created_at", "user_profiles.updated_at", "tags.created_at",
    "stories.user_id", "stories.visibility", "stories.tags_cached",
    "stories.created_at", "stories.updated_at",
    "habits.user_id", "habits.frequency", "habits.meta", "habits.created_at",
    "gardens.user_id", "gardens.created_at",
    "user_features.version", "user_features.updated_at",
    "match_results.user_id", "match_results.target_user_id", "match_results.created_at",
}  # fmt: skip

GONE = {
    "index users.idx_users_email": "repeats the unique index on email",
    "index match_results.idx_match_results_user_score": "the index of batches has the person first",
}

TRIGGERS = {
    "trigger user_profiles.user_profiles_set_updated_at": "updated_at",
    "trigger user_profiles.profiles_changed_insert": "keeps users.name_key",
    "trigger user_profiles.profiles_changed_update": "keeps users.name_key",
    "trigger user_profiles.profiles_changed_delete": "keeps users.name_key",
    "trigger user_profiles.profiles_changed_truncate": "keeps users.name_key",
    "trigger tags.tags_renamed_update": "keeps stories.tags_cached",
    "trigger tags.tag_lock_stories": "lock order, when a tag is deleted",
    "trigger stories.stories_set_updated_at": "updated_at",
    "trigger stories.tags_cached_is_kept_insert": "tags_cached is written by triggers only",
    "trigger stories.tags_cached_is_kept_update": "tags_cached is written by triggers only",
    **{
        f"trigger {table}.{name}_{operation}": "marks for matching"
        for table, name, operations in (
            ("user_tags", "match_tags_changed", "insert delete"),
            ("user_tags", "match_row_changed", "update"),
            ("habits", "match_habits_changed", "insert update delete"),
            ("user_profiles", "match_row_changed", "insert update delete"),
            ("stories", "match_row_changed", "update delete"),
        )
        for operation in operations.split()
    },
    "trigger users.match_user_goes": "marks for matching",
    "trigger user_tags.user_tags_filled_insert": "what its people are ordered by",
    "trigger user_tags.user_tags_filled_update": "what its people are ordered by",
    **{
        f"trigger {table}.{name}_{operation}": "keeps name_words, and user_tags as names change"
        for table, name, operations in (
            ("user_tags", "user_tags_kept", "update delete truncate"),
            ("users", "users_named", "insert update delete truncate"),
        )
        for operation in operations.split()
    },
    "trigger user_features.user_features_set_updated_at": "updated_at",
}
"""What stands in no model. Columns, keys and indexes beyond the seed are those of models.py, as
`test_the_head_is_what_the_models_say` compares."""

FUNCTIONS = {
    "function refresh_tags_cached(bigint[])": "keeps stories.tags_cached",
    "function story_tags_changed()": "keeps stories.tags_cached",
    "function tags_renamed()": "keeps stories.tags_cached",
    "function tags_cached_is_kept()": "tags_cached is written by triggers only",
    "function tag_lock_stories()": "lock order, when a tag is deleted",
    "function profiles_changed()": "keeps users.name_key",
    "function story_marks(character varying[],timestamp with time zone)": "what an index is of",
    "function without_accents(text)": "what users.name_key is made of",
    "function set_updated_at()": "updated_at",
    "function mark_stale_features(character varying[])": "marks for matching",
    "function match_tags_changed()": "marks for matching",
    "function match_story_tags_changed()": "marks for matching",
    "function match_row_changed()": "marks for matching",
    "function match_habits_changed()": "marks for matching",
    "function match_user_goes()": "marks for matching",
    "function user_tags_filled()": "what the people of a tag are ordered by",
    "function user_tags_kept()": "keeps name_words",
    "function users_named()": "keeps name_words, and user_tags as names change",
}


RECORDS = re.compile(r"^(trigger|function) .*_recorded(_|\b)")


def table_of(name: str) -> str:
    return name.split()[1].split(".")[0].removesuffix("_id_seq")


async def seeded(make: Make, connect: Connect) -> Catalog:
    connection = await connect(await make())
    await connection.execute(SEED.read_text())
    return await catalog(connection)


async def test_the_first_three_migrations_make_the_seeds_database(
    make: Make, connect: Connect
) -> None:
    seed = await seeded(make, connect)
    migrated = await catalog(await connect(await make("0003")))
    assert differences(seed, migrated) == {}
    assert {name.split()[1] for name in seed if name.startswith("table ")} == NINE
    assert len(seed) > 90  # the query found columns, keys and indexes, not only tables


async def test_the_head_keeps_the_seed_but_for_what_is_said_here(
    make: Make, connect: Connect
) -> None:
    found = differences(
        await seeded(make, connect), await catalog(await connect(await make("head")))
    )
    beyond = {name for name in found if table_of(name) in Base.metadata.tables.keys() - NINE}

    # What records changes for live updates; test_changes.py says which tables it is on.
    recording = {name for name in found if RECORDS.search(name)}
    assert recording
    nine = {name: pair for name, pair in found.items() if name not in beyond | recording}
    gone = {name for name, (_, after) in nine.items() if after is None}
    added = {name for name, (before, _) in nine.items() if before is None}
    changed = {name: pair for name, pair in nine.items() if name not in gone | added}
    assert gone == GONE.keys()
    made = {name for name in added if name.startswith(("trigger ", "function "))}
    assert made == TRIGGERS.keys() | FUNCTIONS.keys(), "each is in one of these, with its reason"
    assert {name.split()[0] for name in added - made} == {"column", "constraint", "index"}
    assert changed.keys() == {f"column {name}" for name in NOT_NULL}
    for name, (before, after) in changed.items():
        assert before is not None
        assert after is not None
        without = after.replace(" not null", "")
        if name == "column stories.tags_cached":  # it begins without tags
            without = without.removesuffix(" default '{}'::character varying[]")
        assert without == before, name


def statements(sql: str) -> list[str]:
    """Return the statements without comments and line breaks."""
    bare = re.sub(r"--.*", "", sql)
    return [" ".join(part.split()) for part in bare.split(";") if part.strip()]


def test_seed_sql_is_never_edited() -> None:
    """It repeats the sample SQL of the seed's document, which is not in this repository."""
    found = hashlib.sha256("\n".join(statements(SEED.read_text())).encode()).hexdigest()
    assert found == "175a0c47ffad925b150c1b9828b708964b9216ee3941f47e676f189083ef2a61"
