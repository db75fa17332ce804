"""The root of every subscription: a stream of changes, and two states."""

from __future__ import annotations

import enum
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import strawberry

from community_gql.db.changes import FORGOTTEN, MOST_TEXT, Moment
from community_gql.errors import BadRequest
from community_gql.graph.plans import ChangesPlan, ResultPlan
from community_gql.schema import filters
from community_gql.schema.context import Context
from community_gql.schema.fields import (
    argument,
    derived,
    describe_enum,
    described_type,
    loaded,
    result,
)
from community_gql.schema.ids import write_id
from community_gql.schema.kinds import Arguments, EdgeField, PageField, Source
from community_gql.schema.query import NodeField, Query, ViewerField
from community_gql.schema.results import ResultEdge, ResultField
from community_gql.schema.types import Edge, Node, Story, Viewer
from community_gql.settings.docstrings import documentation


class StoryChangeKind(enum.StrEnum):
    """What happened to a story, as the viewer sees it."""

    APPEARED = "APPEARED"
    CHANGED = "CHANGED"
    GONE = "GONE"
    RELOAD = "RELOAD"


describe_enum(
    StoryChangeKind,
    documentation(StoryChangeKind),
    APPEARED="The story is in the list now: it was written, or the viewer may see it now, or "
    "it matches the filter now. If you have it already, keep it.",
    CHANGED="The story is still in the list, and its text, tags or visibility have changed.",
    GONE="The story is not in the list any more: it was deleted, or the viewer may not see "
    "it any more, or it does not match the filter any more. If you do not have it, "
    "ignore this.",
    RELOAD="Read the list (again): what follows is complete from here on. It is the first "
    "event without `after`. It also comes when `after` is too old, when too much "
    "changed at once, and when the viewer gained or lost a friend.",
)


@dataclass(frozen=True, slots=True, eq=False)
class StoryEvent:
    """An event of ``stories``, for one viewer or for several."""

    kind: StoryChangeKind
    moment: str
    digest: str = ""
    """What the cursors of the viewer's list begin with."""
    key: int | None = None
    """The story's, if it is to be shown."""
    gone: int | None = None
    """The key of a story that is not."""

    def binds(self) -> dict[str, object]:
        """The values of the bind parameters of a compiled event."""
        return {
            "event_kind": self.kind.value,
            "event_moment": self.moment,
            "event_digest": self.digest,
            "event_key": self.key,
            "event_gone": self.gone,
        }


class AppearedField(ResultField):
    """The story with its cursor in the list that the subscription follows."""

    async def _edge(self, row: Awaitable[Any], source: StoryEvent) -> ResultEdge | None:
        node = await row
        if node is None:
            return None
        cursors = _stories().plan({}).cursors
        return ResultEdge(
            node, cursors.with_digest(source.digest).write((node.created_at, node.id))
        )

    def resolve(self, source: StoryEvent, context: Context, plan: ResultPlan) -> Any:
        """The edge, of a story that appeared."""
        if source.kind is not StoryChangeKind.APPEARED:
            return None
        row = super().resolve(source, context, plan)
        return None if row is None else self._edge(row, source)


@described_type
class StoryChange:
    """A change of a story in a list, or a request to read the list again."""

    kind: StoryChangeKind = derived(lambda event: event.kind, "What became of it.")
    story: Story | None = result("The story as it is now; null for GONE and RELOAD.")
    story_edge: Edge[Story] | None = loaded(
        AppearedField,
        "The story as an edge of `Query.stories` with the same filter, in its default order; null "
        "unless it APPEARED.",
    )
    gone_id: strawberry.ID | None = derived(
        lambda event: None if event.gone is None else write_id("Story", event.gone),
        "The global id of the story that is GONE; null for every other kind.",
    )
    moment: str = derived(
        lambda event: event.moment,
        "The moment that this event reaches. Give it as `after` to go on from here "
        "without a gap, on any connection and server.",
    )


class StoryChangesField(EdgeField[ChangesPlan]):
    """``stories``: what becomes of the list of that name in Query."""

    def plan(self, arguments: Arguments) -> ChangesPlan:
        """The list, and from where on."""
        given = {name: value for name, value in arguments.items() if value is not None}
        page = _stories().plan({"filter": given.get("filter")})
        after = moment_of(given["after"]) if "after" in given else None
        return ChangesPlan(page.edge, page.filters, after, page.cursors.digest)

    def resolve(self, source: Source, context: Context, plan: ChangesPlan) -> StoryEvent:
        """The event that is being told."""
        assert context.event is not None
        event: StoryEvent = context.event
        return event


def moment_of(text: str) -> Moment:
    """The moment that a client gives. Raises BadRequest for what is not one."""
    if len(text) > MOST_TEXT:
        return FORGOTTEN
    try:
        return Moment.read(text)
    except ValueError:
        raise BadRequest(
            "This moment is not one of this API: take it from `Query.moment` or from "
            "`moment` of an event."
        ) from None


def _stories() -> PageField:
    fields = Query.__strawberry_definition__.fields  # type: ignore[attr-defined]
    (field,) = (field for field in fields if field.python_name == "stories")
    assert isinstance(field, PageField)
    return field


@described_type
class Subscription:
    """Everything that can be followed.

    `stories` tells changes of a list. `viewer` and `node` tell a state: at once, and again
    whenever it has changed.
    """

    stories: StoryChange = loaded(
        StoryChangesField,
        "Changes of the list that `Query.stories` gives with the same filter.",
        argument("filter", filters.StoryFilter | None, "Only those that match all members."),
        argument(
            "after",
            str | None,
            "Go on from this moment: `Query.moment` of the answer that holds the list, or `moment` "
            "of the last event. Without it the first event is RELOAD.",
        ),
    )
    viewer: Viewer | None = loaded(
        ViewerField,
        "The signed-in person, now and after every change of what is theirs; null when signed out.",
    )
    node: Node | None = loaded(
        NodeField,
        "The object with this global id, now and after every change of it; null when it "
        "does not exist or the viewer may not see it any more. A change of a person's "
        "profile, garden, tags, habits or stories counts as a change of the person. "
        "Everything else that is selected is up to date in each event, but a change of "
        "that alone causes no event.",
        argument("id", strawberry.ID, "The global id."),
    )
