"""Orders and filters: the types of the arguments of lists."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    ARRAY,
    DateTime,
    Double,
    Integer,
    String,
    and_,
    case,
    cast,
    exists,
    func,
    join,
    literal_column,
    not_,
    select,
    true,
)

from community_gql.db import models as m
from community_gql.errors import BadRequest
from community_gql.graph.edges import Found, Walk, walk_between
from community_gql.graph.marks import has_first_and_last
from community_gql.graph.paging import Order
from community_gql.graph.search import (
    fold_tag,
    fold_tags,
    is_blank,
    like_prefix,
    only_excludes,
    web_search,
    word_prefixes,
)
from community_gql.graph.terms import Entity
from community_gql.schema.fields import describe_enum, described_input, member, ordered
from community_gql.settings.docstrings import documentation

_ENGLISH: Any = literal_column("'english'::regconfig")
_SIMPLE: Any = literal_column("'simple'::regconfig")
_NO_NAME: Any = literal_column("''")
"""Not a parameter: the index is of just this comparison."""

MAX_SEARCH = 500
"""The most characters of a search; a few thousand words overflow PostgreSQL's stack."""
MAX_TAGS = 20
"""The most names in a list of tags."""


def _unless_blank(read: Callable[[str], str]) -> Callable[[str], str | None]:
    """Apply ``read`` to a text that is not blank; a blank one (an emptied field) is no filter."""
    return lambda text: None if is_blank(text) else read(text)


def _tags(called: str) -> Callable[[list[str]], tuple[str, ...] | None]:
    """The folded names of a list of tags without the blank ones; None if none is left."""

    def read(names: list[str]) -> tuple[str, ...] | None:
        if len(names) > MAX_TAGS:
            raise BadRequest(f"'{called}' may hold at most {MAX_TAGS} tags, not {len(names):,}.")
        return tuple(fold_tags([name for name in names if not is_blank(name)])) or None

    return read


def _searched(text: str) -> str:
    if len(text) > MAX_SEARCH:
        raise BadRequest(f"'search' may have at most {MAX_SEARCH} characters, not {len(text)}.")
    return text


def _has_words(story: Entity, words: Any) -> Any:
    query = func.websearch_to_tsquery(_ENGLISH, words)
    # Without its stop word, "the -garden" only excludes words, and no index serves that.
    findable = func.querytree(query).not_in([literal_column("'T'"), literal_column("''")])
    return and_(story.search.op("@@")(query), findable)


def _tag_id(name: Any) -> Any:
    # unscoped: everyone may see tags
    return select(m.Tag.id).where(m.Tag.name == name).scalar_subquery()


def _chose(user: Any, name: Any) -> Any:
    tag_id, choice = _tag_id(name), m.user_tags.c
    # unscoped: everyone may see who chose a tag
    chosen = exists().where(choice.user_id == user.auth0_sub, choice.tag_id == tag_id)
    # The first is computed before any person is read.
    return and_(tag_id.is_not(None), chosen)


def _chose_too(user: Any, name: Any) -> Any:
    tag_id, too = _tag_id(name), m.user_tags.alias("too")
    # By what people are ordered by: those who are met one after another stand so in the index.
    # unscoped: everyone may see who chose a tag
    chosen: Any = select(literal_column("1")).where(
        too.c.tag_id == tag_id,
        too.c.user_created_at == user.created_at,
        too.c.user_public_id == user.public_id,
    )
    # OFFSET keeps it from being joined: all who chose the tag would be read first.
    return and_(tag_id.is_not(None), chosen.offset(literal_column("0")).exists())


def _who_chose(_: Any, name: Any) -> Walk:
    return walk_between(m.user_tags, "user_id", "tag_id", _tag_id(name))


_LAST: Any = literal_column("chr(1114111)")
"""No letter comes after it."""
_RARE: Any = literal_column("3")
"""So many first letters are shared by few."""
_DOUBLED: Any = [
    (literal_column(f"'{character * 2}'"), literal_column(f"'{character}'"))
    for character in ("''", "\\")
]
"""What stands twice in the text of a query, and once in the word."""


def _named(words: Any, tag_id: Any) -> Found:
    """People with a word in their name that begins with the one that is looked for."""
    query = func.to_tsquery(_SIMPLE, words)
    # Its text, such as 'o''brien':*, is the word itself between what to_tsquery puts around it.
    quoted = cast(query, String)
    length = func.length(quoted) - literal_column("4")
    word = func.substr(quoted, literal_column("2"), length)
    for doubled, character in _DOUBLED:
        word = func.replace(word, doubled, character)
    is_one = func.numnode(query) == literal_column("1")
    # unscoped: no table, and computed once
    wanted = select(case((is_one, word))).scalar_subquery()
    entries = m.name_words.alias("entries")
    at = entries.c
    where = and_(
        at.tag_id == (literal_column(str(m.EVERYONE)) if tag_id is None else tag_id),
        at.word >= wanted,
        at.word < wanted.op("||")(_LAST),
        # Of somebody's words that begin so, the first.
        at.previous < wanted,
    )
    copies = SimpleNamespace(created_at=at.created_at, public_id=at.public_id, name_key=at.name_key)
    walk = Walk(entries, at.public_id, where, by="public_id", copies=copies)
    # Several words are rarer than the rarest of them.
    are_few = func.coalesce(func.length(wanted) >= _RARE, true())
    return Found(walk, wanted.is_not(None), are_few)


def _tagged(story: Entity, names: Any) -> Walk:
    """The stories of each tag in turn; each story at the first of its tags that is wanted."""
    tags, links = m.Tag.__table__.alias("wanted_tags"), m.story_tags.alias("links")
    wanted = (
        func.unnest(names, type_=String)
        .table_valued("name", with_ordinality="place")
        .render_derived(name="wanted")
    )
    source = join(wanted, tags, tags.c.name == wanted.c.name).join(
        links, links.c.tag_id == tags.c.id
    )
    rest: Any = func.cardinality(names) - wanted.c.place + literal_column("1")
    before = func.trim_array(names, cast(rest, Integer))
    once = not_(story.tags_cached.bool_op("&&")(before))
    return Walk(source, links.c.story_id, true(), once)


def _story_search(text: str) -> str:
    words = web_search(_searched(text))
    if only_excludes(words):
        raise BadRequest(
            "'search' must say what to find, on each side of `or`, before it says what to leave "
            'out: write "moss -garden" instead of "-garden".'
        )
    return words


NEWEST_FIRST = Order(lambda row, _: (row.created_at, row.id), descending=True)
OLDEST_FIRST = Order(lambda row, _: (row.created_at, row.id))
BY_NAME = Order(lambda row, _: (row.name, row.id))


def _relevance(story: Entity, binds: Any) -> tuple[Any, ...]:
    rank = func.ts_rank(story.search, func.websearch_to_tsquery(_ENGLISH, binds["search"]))
    return (rank.cast(Double), story.id)


class UserOrder(enum.Enum):
    """Orders of a list of people."""

    NEWEST = ordered(
        Order(lambda user, _: (user.created_at, user.public_id), descending=True),
        "Newest member first.",
    )
    NAME = ordered(
        Order(lambda user, _: (user.name_key == _NO_NAME, user.name_key, user.public_id)),
        "By display name, without regard to case; people without a name come last.",
    )


class StoryOrder(enum.Enum):
    """Orders of a list of stories."""

    NEWEST = ordered(NEWEST_FIRST, "Newest first.")
    OLDEST = ordered(OLDEST_FIRST, "Oldest first.")
    RELEVANCE = ordered(
        Order(_relevance, descending=True, pool=NEWEST_FIRST, needs="search"),
        "The best match for `filter.search` comes first, among the newest 1,000 that match. "
        "Needs `filter.search`.",
    )


class HabitOrder(enum.Enum):
    """Orders of a list of habits."""

    NEWEST = ordered(NEWEST_FIRST, "Newest first.")
    NAME = ordered(BY_NAME, "By name.")


class TagOrder(enum.Enum):
    """Orders of a list of tags."""

    NAME = ordered(BY_NAME, "By name.")
    POPULARITY = ordered(
        Order(lambda tag, _: (tag.popularity, tag.id), descending=True),
        "The tag that most people chose comes first. The count is at most about a minute old.",
    )


class MatchOrder(enum.Enum):
    """Orders of a list of matches."""

    SCORE = ordered(
        Order(lambda match, _: (match.score, match.id), descending=True),
        "Best match first.",
    )


class FriendshipOrder(enum.Enum):
    """Orders of a list of friendships."""

    NEWEST = ordered(NEWEST_FIRST, "Newest request first.")


for _orders in (UserOrder, StoryOrder, HabitOrder, TagOrder, MatchOrder, FriendshipOrder):
    describe_enum(_orders, documentation(_orders))


@described_input
class UserFilter:
    """Which people to list; without members, all.

    An empty text counts as absent.
    """

    search: str | None = member(
        String(),
        lambda user, words: func.to_tsvector(_SIMPLE, user.name_key).op("@@")(
            func.to_tsquery(_SIMPLE, words)
        ),
        "People whose display name has words that begin with these, in any order, with or "
        "without accents. At most 500 characters.",
        _unless_blank(lambda text: word_prefixes(_searched(text))),
        scarce=True,
        dear=16,
        found=_named,
    )
    tag: str | None = member(
        String(),
        _chose,
        "People who chose the tag of this name.",
        _unless_blank(fold_tag),
        scarce=True,
        dear=8,
        walk=_who_chose,
        probe=_chose_too,
    )


@described_input
class StoryFilter:
    """Which stories to list; without members, all that the viewer may see.

    An empty text or list counts as absent.
    """

    tags_any: list[str] | None = member(
        ARRAY(String),
        lambda story, names: story.tags_cached.op("&&")(names),
        f"Stories with at least one of these tags, by name; at most {MAX_TAGS}.",
        _tags("tagsAny"),
        scarce=True,
        light=True,
        walk=_tagged,
    )
    tags_all: list[str] | None = member(
        ARRAY(String),
        lambda story, names: story.tags_cached.op("@>")(names),
        f"Stories with every one of these tags, by name; at most {MAX_TAGS}.",
        _tags("tagsAll"),
        scarce=True,
        light=True,
        marked=has_first_and_last,
    )
    created_after: datetime | None = member(
        DateTime(timezone=True),
        lambda story, moment: story.created_at > moment,
        "Stories written after this moment.",
        window=True,
    )
    created_before: datetime | None = member(
        DateTime(timezone=True),
        lambda story, moment: story.created_at < moment,
        "Stories written before this moment.",
        window=True,
    )
    search: str | None = member(
        String(),
        _has_words,
        'Stories with these words in title or text, in any form: `moss "spring rain" -snow or '
        "hail` understands phrases, exclusion and `or`. It must say what to find, not only what "
        "to leave out. At most 500 characters.",
        _unless_blank(_story_search),
        scarce=True,
        light=True,
    )


@described_input
class UserStoryFilter(StoryFilter):
    """Which of a person's stories to list; without members, all that the viewer may see.

    An empty text or list counts as absent.
    """

    visibility: m.StoryVisibility | None = member(
        String(),
        lambda story, visibility: story.visibility == visibility,
        "Stories with this visibility.",
        lambda visibility: visibility.value,
    )


@described_input
class TagFilter:
    """Which tags to list; without members, all. An empty text counts as absent."""

    prefix: str | None = member(
        String(),
        lambda tag, pattern: tag.name.like(pattern),
        "Tags whose name begins with this.",
        _unless_blank(lambda prefix: like_prefix(fold_tag(prefix))),
        selective=True,
    )
