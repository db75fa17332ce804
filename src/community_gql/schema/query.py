"""The root of every query."""

from __future__ import annotations

from typing import Any

import strawberry

from community_gql.errors import BadRequest
from community_gql.graph import marks
from community_gql.graph.edges import Shape
from community_gql.graph.loaders import ROOT as ROOT_KEY
from community_gql.graph.paging import MAX_PAGE_SIZE
from community_gql.graph.plans import Lookup, LookupPlan, LookupsPlan, MomentPlan, ViewerPlan
from community_gql.graph.search import fold_tag
from community_gql.schema import filters
from community_gql.schema.context import Context
from community_gql.schema.fields import argument, described_type, loaded, lookup, page
from community_gql.schema.kinds import Arguments, EdgeField, Source, plan_of_id
from community_gql.schema.types import (
    NODES,
    Connection,
    Node,
    Story,
    Tag,
    User,
    Viewer,
)

SHAPES: dict[str, Shape] = {node.__name__: node.shape for node in NODES}


class ViewerField(EdgeField[ViewerPlan]):
    """``viewer``: null for the anonymous viewer."""

    def plan(self, arguments: Arguments) -> ViewerPlan:
        """The lookup of the viewer's own row, by the bind that holds the viewer."""
        return ViewerPlan(Lookup(self._target, self._target.key_name))

    def batch(self, plan: ViewerPlan) -> Lookup:
        """Finds the row, or None."""
        return plan.lookup

    def key(self, plan: ViewerPlan, source: Source, context: Context) -> str | None:
        """That of the viewer."""
        return context.viewer.sub


class NodeField(EdgeField[LookupPlan]):
    """``node``: one entity of any type."""

    def plan(self, arguments: Arguments) -> LookupPlan:
        """The lookup that the id names."""
        return plan_of_id(arguments["id"], SHAPES)

    def batch(self, plan: LookupPlan) -> Lookup | None:
        """Finds the row, or None."""
        return plan.lookup

    def key(self, plan: LookupPlan, source: Source, context: Context) -> Any:
        """What the id says."""
        return plan.key


class NodesField(EdgeField[LookupsPlan]):
    """``nodes``: several entities of any types."""

    def plan(self, arguments: Arguments) -> LookupsPlan:
        """The lookups that the ids name."""
        ids = arguments["ids"]
        if len(ids) > MAX_PAGE_SIZE:
            raise BadRequest(f"'ids' may hold at most {MAX_PAGE_SIZE} ids, not {len(ids)}.")
        return LookupsPlan(tuple(plan_of_id(id_, SHAPES) for id_ in ids))

    def resolve(self, source: Source, context: Context, plan: LookupsPlan) -> list[Any]:
        """A row or None for each id, in their order, or an awaitable of it."""
        load = context.loaders.load
        return [None if item.lookup is None else load(item.lookup, item.key) for item in plan.items]


class MomentField(EdgeField[MomentPlan]):
    """``moment``: up to where an answer tells."""

    def plan(self, arguments: Arguments) -> MomentPlan:
        """The same for everyone."""
        return MomentPlan()

    def batch(self, plan: MomentPlan) -> MomentPlan:
        """Reads the moment of the operation's snapshot."""
        return plan

    def key(self, plan: MomentPlan, source: Source, context: Context) -> str:
        """There is one for all."""
        return ROOT_KEY


@described_type
class Query:
    """Everything that can be read. What the viewer may not see looks as if it did not exist."""

    viewer: Viewer | None = loaded(ViewerField, "The signed-in person; null when signed out.")
    node: Node | None = loaded(
        NodeField,
        "The object with this global id; null when it does not exist or the viewer may not see it.",
        argument("id", strawberry.ID, "The global id."),
    )
    nodes: list[Node | None] = loaded(
        NodesField,
        "Several objects by their global ids, in the same order; null where `node` gives null.",
        argument("ids", list[strawberry.ID], "The global ids; at most 100."),
    )
    user: User | None = lookup("A person by global id.", "id", "The person's global id.")
    users: Connection[User] = page(
        None, orders=filters.UserOrder, filter=filters.UserFilter, description="All people."
    )
    story: Story | None = lookup("A story by global id.", "id", "The story's global id.")
    stories: Connection[Story] = page(
        None,
        orders=filters.StoryOrder,
        filter=filters.StoryFilter,
        description="The feed: all stories that the viewer may see.",
        bins=marks.BINS_OF_STORIES,
    )
    tag: Tag | None = lookup(
        "A tag by its name.", "name", "The name, in any case.", by="name", read=fold_tag
    )
    tags: Connection[Tag] = page(
        None, orders=filters.TagOrder, filter=filters.TagFilter, description="The vocabulary."
    )
    moment: str = loaded(
        MomentField,
        "The moment that this answer shows. Give it as `after` to `Subscription.stories`, "
        "to follow from here without a gap. Opaque, and good for an hour.",
    )


ROOT = object()
"""What the fields of Query get as parent: nothing hangs on it."""
