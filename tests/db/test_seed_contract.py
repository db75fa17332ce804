"""The seed's sample SQL is the contract for its nine tables; see data.md for what goes beyond."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

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
}

ADDED = {
    "column users.public_id": "the id that the API shows",
    "constraint users.users_public_id_key": "the id that the API shows",
    "index users.users_public_id_key": "the id that the API shows",
    "column users.name_key": "finding people by name: what is ordered and searched",
    "index users.idx_users_named_first": "finding people by name: pages in order of names",
    "index users.idx_users_name_words": "finding people by name: words and their beginnings",
    "index users.idx_users_created": "pages of people, newest first",
    "trigger user_profiles.user_profiles_set_updated_at": "updated_at",
    "trigger user_profiles.profiles_changed_insert": "keeps users.name_key",
    "trigger user_profiles.profiles_changed_update": "keeps users.name_key",
    "trigger user_profiles.profiles_changed_delete": "keeps users.name_key",
    "trigger user_profiles.profiles_changed_truncate": "keeps users.name_key",
    "index tags.idx_tags_name_prefix": "finding tags by the beginning of their names",
    "column tags.popularity": "tags in the order of popularity",
    "index tags.idx_tags_popularity": "tags in the order of popularity",
    "trigger tags.tags_renamed_update": "keeps stories.tags_cached",
    "trigger tags.tag_lock_stories": "lock order, when a tag is deleted",
    "column stories.search": "full-text search",
    "index stories.idx_stories_search": "full-text search",
    "index stories.idx_stories_tags": "stories with given tags",
    "index stories.idx_stories_created": "the feed, newest first",
    "index stories.idx_stories_public_created": "the feed, newest first, as anyone may see it",
    "trigger stories.stories_set_updated_at": "updated_at",
    "trigger stories.tags_cached_is_kept_insert": "tags_cached is written by triggers only",
    "trigger stories.tags_cached_is_kept_update": "tags_cached is written by triggers only",
    "index habits.idx_habits_user_created": "pages of a person's habits",
    **{
        f"trigger {table}.{name}_{operation}": "marks for matching"
        for table, name, operations in (
            ("user_tags", "match_tags_changed", "insert update delete"),
            ("habits", "match_habits_changed", "insert update delete"),
            ("user_profiles", "match_row_changed", "insert update delete"),
            ("stories", "match_row_changed", "update delete"),
        )
        for operation in operations.split()
    },
    "trigger users.match_user_goes": "marks for matching",
    "trigger user_features.user_features_set_updated_at": "updated_at",
    "constraint match_results.match_results_score_check": "a score lies in [0, 1]",
    "index user_features.idx_user_features_version": "the length of a version's vectors",
    "index match_results.idx_match_results_target": "the cascade from a deleted account",
    "index match_results.idx_match_results_batch": "the newest batch, best score first",
}

NEW_TABLES = {
    "friendships": "what makes the `friends` visibility mean something",
    "story_tags": "the n-m arrow between stories and tags in the seed's ERD",
    "story_requests": "the idempotency keys of createStory",
    "tag_renames": "popular tags on their way to a new name",
    "housekeeping": "when the popularity of tags was last counted",
    "match_choices": "what people chose about being matched",
    "match_dismissals": "whom people do not want among their matches",
    "match_recipes": "how the vectors of each version are made",
    "stale_features": "whose vector may have changed",
    "stale_lists": "whose list of matches may have changed",
    "changes": "what has changed, for live updates",
    "deleted_accounts": "a token issued before the deletion does not bring the account back",
}

FUNCTIONS = {
    "function refresh_tags_cached(bigint[])": "keeps stories.tags_cached",
    "function story_tags_changed()": "keeps stories.tags_cached",
    "function tags_renamed()": "keeps stories.tags_cached",
    "function tags_cached_is_kept()": "tags_cached is written by triggers only",
    "function tag_lock_stories()": "lock order, when a tag is deleted",
    "function profiles_changed()": "keeps users.name_key",
    "function without_accents(text)": "what users.name_key is made of",
    "function set_updated_at()": "updated_at",
    "function mark_stale_features(character varying[])": "marks for matching",
    "function match_tags_changed()": "marks for matching",
    "function match_story_tags_changed()": "marks for matching",
    "function match_row_changed()": "marks for matching",
    "function match_habits_changed()": "marks for matching",
    "function match_user_goes()": "marks for matching",
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


async def test_the_head_differs_from_the_seed_only_where_data_md_says(
    make: Make, connect: Connect
) -> None:
    found = differences(
        await seeded(make, connect), await catalog(await connect(await make("head")))
    )
    beyond = {name for name in found if table_of(name) in NEW_TABLES}
    assert {table_of(name) for name in beyond} == NEW_TABLES.keys()

    # What records changes for live updates; test_changes.py says which tables it is on.
    recording = {name for name in found if RECORDS.search(name)}
    assert recording
    nine = {name: pair for name, pair in found.items() if name not in beyond | recording}
    gone = {name for name, (_, after) in nine.items() if after is None}
    added = {name for name, (before, _) in nine.items() if before is None}
    changed = {name: pair for name, pair in nine.items() if name not in gone | added}
    assert gone == GONE.keys()
    assert added == ADDED.keys() | FUNCTIONS.keys()
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
