"""The object types: the ERD as a client sees it. They refer to each other, so they live together.

The classes only declare fields; resolvers pass on rows of their ``shape``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

import strawberry
from sqlalchemy import (
    ARRAY,
    Boolean,
    DateTime,
    Integer,
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    not_,
    or_,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import aliased

from community_gql.db import models as m
from community_gql.graph import marks
from community_gql.graph.paging import Page
from community_gql.graph.terms import Entity
from community_gql.graph.visibility import visible
from community_gql.schema import filters
from community_gql.schema.fields import (
    Argument,
    column,
    computed,
    derived,
    described_type,
    entity,
    node_id,
    one,
    page,
    through,
)
from community_gql.schema.scalars import JSON

T = TypeVar("T")


@strawberry.interface(description="An object with a global id, by which `node` finds it again.")
class Node:
    """Something with a global id."""

    is_node: strawberry.Private[bool] = True
    id: strawberry.ID = node_id("The global id: opaque, and stable for as long as it exists.")

    @staticmethod
    def resolve_type(row: Any, _info: Any, _type: Any) -> str:
        """The GraphQL type of a row."""
        return str(row.shape.name)


@described_type
class PageInfo:
    """Where a page lies in its list, and how to go on from it."""

    has_next_page: bool = strawberry.field(
        description="Whether more items follow. Going backward: whether `before` was given."
    )
    has_previous_page: bool = strawberry.field(
        description="Whether items come before. Going forward: whether `after` was given."
    )
    start_cursor: str | None = strawberry.field(
        description="The cursor of the first edge, for `before`; null on an empty page."
    )
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last edge, for `after`; null on an empty page."
    )


@described_type
class Edge(Generic[T]):
    """An item of a list with its cursor."""

    node: T = strawberry.field(description="The item.")
    cursor: str = strawberry.field(
        description="Names this place in the list, for `after` and `before`."
    )


@described_type
class Connection(Generic[T]):
    """A page of a list. Go forward with `first` and `after`, backward with `last` and `before`.

    `createdAt` is the time at which the write began, not the time of its commit. So a row that was
    committed late can appear behind a cursor that you already have. `Subscription.stories` follows
    stories without a gap. To follow another list, ask again from a little before the newest item
    that you have, and skip the items whose `id` you know.
    """

    edges: list[Edge[T]] = derived(Page.edges, "The items of this page with their cursors.")
    nodes: list[T] = derived(lambda page: page.rows, "The items of this page.")
    page_info: PageInfo = derived(lambda page: page, "Where this page lies in the list.")
    total_count: int = derived(
        Page.total_count,
        "How many items the whole list has: exact up to 1,000, and 1,000 when there are more. "
        "Counted only when asked for.",
    )
    total_count_is_exact: bool = derived(
        Page.total_count_is_exact,
        "Whether `totalCount` is the exact number: false when there are more than 1,000. Costs "
        "nothing beside `totalCount`.",
    )


@entity(m.User)
class User(Node):
    """A person."""

    created_at: datetime = column("When the person joined.")
    account_age_days: int = computed(
        lambda user: func.floor(
            func.greatest(func.extract("epoch", func.now() - user.created_at), literal_column("0"))
            / 86400
        ).cast(Integer),
        "Full days since the person joined; never less than 0.",
    )
    profile: Profile | None = one(
        m.User.profile, "What they say about themselves; null until they first save it."
    )
    stories: Connection[Story] = page(
        m.User.stories,
        orders=filters.StoryOrder,
        filter=filters.UserStoryFilter,
        description="Their stories, as far as the viewer may see them.",
    )
    habits: Connection[Habit] = page(
        m.User.habits,
        orders=filters.HabitOrder,
        description="Their habits. Empty for everyone but themselves.",
    )
    garden: Garden | None = one(m.User.garden, "Their garden, if they have planted one.")
    tags: list[Tag] = through(
        m.User.tags,
        filters.BY_NAME,
        "The tags they chose for themselves, by name; at most 50.",
        most=50,
    )
    matches: Connection[Match] = page(
        m.User.matches,
        orders=filters.MatchOrder,
        description="The people who suit them, from the newest batch. Empty for everyone but "
        "themselves.",
    )
    viewer_friendship: Friendship | None = one(
        m.User.viewer_friendship,
        "The friendship between this person and the viewer, requested or accepted, if any.",
    )


@entity(m.UserProfile)
class Profile:
    """What a person says about themselves."""

    display_name: str | None = column("The name that others see; at most 80 characters.")
    bio: str | None = column("A few words about themselves.")
    journaling_frequency: int | None = column("How many days a week they plan to write, 0 to 7.")
    updated_at: datetime = column("When they last changed it.")
    user: User = one(m.UserProfile.user, "Whose profile this is.")


def _excerpt(story: Entity, length: Any) -> Any:
    return case(
        (func.char_length(story.content) <= length, story.content),
        else_=func.rtrim(func.left(story.content, length - 1)).op("||")("…"),
    )


@entity(m.Story)
class Story(Node):
    """A text that a person wrote."""

    title: str = column("The title; at most 140 characters.")
    content: str = column("The whole text, in Markdown.")
    excerpt: str = computed(
        _excerpt,
        "The beginning of the text; ends in … when there is more.",
        length=Argument(
            type=Integer(),
            default=200,
            minimum=1,
            maximum=1000,
            description="At most this many characters, 1 to 1,000.",
        ),
    )
    visibility: m.StoryVisibility = column("Who may read it.")
    tags: list[Tag] = through(
        m.Story.tags, filters.BY_NAME, "Its tags, by name; at most 20.", most=20
    )
    tag_names: list[str] = column("The names of its tags, sorted.", "tags_cached")
    author: User = one(m.Story.author, "Who wrote it.")
    created_at: datetime = column("When it was written.")
    updated_at: datetime = column("When it was last changed.")
    viewer_can_edit: bool = computed(
        lambda story: func.coalesce(story.user_id == m.VIEWER, False),
        "Whether the viewer may change and delete it.",
    )


@entity(m.Habit)
class Habit(Node):
    """Something a person does regularly. Only they can see it."""

    name: str = column("What they do; unique among their habits.")
    frequency: m.HabitFrequency = column("How often.")
    meta: JSON = column('What the application keeps with it, a JSON object: `{"minutes": 10}`.')
    created_at: datetime = column("When they added it.")
    owner: User = one(m.Habit.owner, "Whose habit it is.")


@entity(m.Garden)
class Garden(Node):
    """A person's garden; everyone has at most one."""

    name: str = column("Its name; at most 80 characters.")
    theme: str | None = column("How it looks, such as `zen`; at most 40 characters.")
    created_at: datetime = column("When it was planted.")
    owner: User = one(m.Garden.owner, "Whose garden it is.")


def _has_tag(tag: Any, story: Entity, binds: Mapping[str, Any]) -> Any:
    asked = [binds[name] for name in ("tags_any", "tags_all") if name in binds]
    has_tag = story.tags_cached.bool_op("@>")(array([tag.name]))
    # "is true" has no index: that of the marks knows it as well.
    return and_(
        has_tag.is_(True) if asked or marks.BINS_OF_STORIES.has_window(binds) else has_tag,
        *(marks.has_with(story, tag, names) for names in asked),
    )


@entity(m.Tag)
class Tag(Node):
    """A word of the vocabulary that everyone shares."""

    name: str = column("The word: lower case, trimmed, at most 64 characters.")
    created_at: datetime = column("When it was added to the vocabulary.")
    stories: Connection[Story] = page(
        m.Tag.stories,
        orders=filters.StoryOrder,
        filter=filters.StoryFilter,
        description="Stories with this tag, as far as the viewer may see them.",
        found_by=_has_tag,
        bins=marks.BINS_OF_STORIES,
    )
    users: Connection[User] = page(
        m.Tag.users,
        orders=filters.UserOrder,
        filter=filters.UserFilter,
        description="People who chose this tag for themselves.",
    )


@entity(m.MatchResult)
class Match(Node):
    """A person who suits the viewer. Only the viewer can see it."""

    score: float = column("How well the two suit each other, from 0 to 1.")
    created_at: datetime = column(
        "When the list that this match belongs to was last computed as a whole."
    )
    user: User = one(m.MatchResult.target, "The person who suits the viewer.")
    shared_tags: list[Tag] = through(
        m.MatchResult.shared_tags, filters.BY_NAME, "The tags that both chose, by name.", most=50
    )
    reasons: MatchReasons = one(None, "What they have in common, as far as the viewer may see it.")


def _same_journaling(match: Any) -> Any:
    own, other = aliased(m.UserProfile), aliased(m.UserProfile)
    return (
        visible(own, own.journaling_frequency)
        .join(other, other.journaling_frequency == own.journaling_frequency)
        .where(own.user_id == match.user_id, other.user_id == match.target_user_id)
        .correlate(match)
        .scalar_subquery()
    )


@entity(m.MatchResult)
class MatchReasons:
    """What two matched people have in common now. It is computed when you read it."""

    tags: list[Tag] = through(
        m.MatchResult.shared_tags, filters.BY_NAME, "The tags that both chose, by name.", most=50
    )
    themes: list[Tag] = through(
        m.MatchResult.shared_themes,
        filters.BY_NAME,
        "Other tags that each chose or used on a public story, by name; at most 50.",
        most=50,
        lateral=True,
        extra=5,
    )
    habits: list[Habit] = through(
        m.MatchResult.shared_habits,
        filters.BY_NAME,
        "The viewer's own habits that the other has too, by name; at most 50. Empty unless both "
        "want their habits to count.",
        most=50,
        lateral=True,
    )
    journaling: int | None = computed(
        _same_journaling,
        "How many days a week both plan to write; null unless the number is the same.",
    )


@entity(m.Friendship)
class Friendship(Node):
    """A friendship, or the request for one. Only the two people in it can see it."""

    status: m.FriendshipStatus = column("Its state.")
    requester: User = one(m.Friendship.requester, "Who asked.")
    addressee: User = one(m.Friendship.addressee, "Who was asked.")
    created_at: datetime = column("When it was requested.")
    accepted_at: datetime | None = column("When it was accepted; null while it is pending.")


@entity(m.UserFeatures)
class Features:
    """The numbers by which a person is matched. Only they can see them."""

    vector: list[float] = column("The feature vector.")
    version: int = column(
        "The version of the recipe that made the vector. All vectors of one version have "
        "the same length."
    )
    updated_at: datetime = column("When it was computed.")


def _choice(user: Any, column: str, default: str) -> Any:
    choice = aliased(m.MatchChoice)
    chosen = visible(choice, getattr(choice, column)).where(choice.user_id == user.auth0_sub)
    return func.coalesce(chosen.correlate(user).scalar_subquery(), literal_column(default, Boolean))


def _listed_at(user: Any) -> Any:
    match = aliased(m.MatchResult)
    newest = visible(match, func.max(match.created_at)).where(match.user_id == user.auth0_sub)
    return newest.correlate(user).scalar_subquery()


def _matching_state(user: Any) -> Any:
    features, match = aliased(m.UserFeatures), aliased(m.MatchResult)
    one: Any = literal_column("1")
    has_features = visible(features, one).where(features.user_id == user.auth0_sub)
    has_matches = visible(match, one).where(match.user_id == user.auth0_sub)
    marked = [
        # unscoped: whether the person who reads this has a mark
        exists().where(t.c.user_id == user.auth0_sub)
        for t in (m.stale_features, m.stale_lists)
    ]
    state = m.MatchingState
    return case(
        (not_(_choice(user, "wanted", "true")), m.constant(state.OFF)),
        (or_(*marked), m.constant(state.WAITING)),
        (
            or_(has_features.correlate(user).exists(), has_matches.correlate(user).exists()),
            m.constant(state.READY),
        ),
        else_=m.constant(state.NOTHING_TO_GO_BY),
    )


@entity(m.User)
class Matching:
    """The viewer's choices about being matched, and the state of it."""

    wanted: bool = computed(
        lambda user: _choice(user, "wanted", "true"),
        "Whether they want matches, and to appear in those of others; true until they choose.",
    )
    habits: bool = computed(
        lambda user: _choice(user, "habits", "false"),
        "Whether their habits count, among others who want that too; false until they choose.",
    )
    state: m.MatchingState = computed(_matching_state, "Whether their list is there, or why not.")
    listed_at: datetime | None = computed(
        _listed_at, "When their list was last computed as a whole; null while there is none."
    )


@entity(m.User)
class Viewer:
    """The signed-in person, with what only they can see."""

    user: User = one(None, "The person as others see them.")
    email: str = column("Their e-mail address.")
    permissions: list[str] = computed(
        lambda _: bindparam("viewer_permissions", type_=ARRAY(String)),
        "The special permissions of their token, such as `manage:tags`.",
    )
    session_expires_at: datetime | None = computed(
        lambda _: bindparam("viewer_expires_at", type_=DateTime(timezone=True)),
        "When they need to sign in again.",
    )
    features: Features | None = one(
        m.User.features, "The numbers by which they are matched, once computed."
    )
    matching: Matching = one(None, "Their choices about being matched, and the state of it.")
    not_interested: Connection[User] = page(
        m.User.dismissed,
        orders=filters.UserOrder,
        filter=filters.UserFilter,
        description="The people whom they do not want among their matches.",
    )
    friends: Connection[User] = page(
        m.User.friends,
        orders=filters.UserOrder,
        filter=filters.UserFilter,
        description="The people who are their friends.",
    )
    friend_requests: Connection[Friendship] = page(
        m.User.friend_requests,
        orders=filters.FriendshipOrder,
        description="Requests for friendship that they have not answered yet.",
    )
    sent_friend_requests: Connection[Friendship] = page(
        m.User.sent_friend_requests,
        orders=filters.FriendshipOrder,
        description="Requests for friendship that they sent, and that are not answered yet.",
    )


NODES: tuple[Any, ...] = tuple(Node.__subclasses__())
"""The types that `node` finds, in the order of their definition."""
