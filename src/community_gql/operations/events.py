"""An event of ``Subscription.stories`` in SQL.

What it tells arrives in bind parameters (``StoryEvent.binds``). The story is read by its key
alone: who is told of it was asked before, in the same snapshot, for each viewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import GraphQLObjectType
from sqlalchemy import bindparam, case, null, select
from sqlalchemy.orm import aliased

from community_gql.graph.paging import cursor_sql
from community_gql.graph.plans import ChangesPlan
from community_gql.graph.terms import Entity, Sql, SqlSelect
from community_gql.operations.json_sql import Entries, text_sql
from community_gql.operations.selections import NotCompiled, Selected, object_type
from community_gql.operations.statement import EVENT
from community_gql.schema.ids import id_sql

if TYPE_CHECKING:
    from community_gql.operations.compiler import Compiler


class EventCompiler:
    """The object of one event, of the field ``selected``."""

    def __init__(self, compiler: Compiler, selected: Selected, plan: ChangesPlan) -> None:
        self._compiler, self._selected, self._plan = compiler, selected, plan

    def entries(self) -> Entries:
        """Its members."""
        type_ = object_type(self._selected)
        return [
            (member.key, self._value(type_, member))
            for member in self._compiler.selections.of(type_, self._selected.sets)
        ]

    def _value(self, type_: GraphQLObjectType, member: Selected) -> Sql:
        match member.name:
            case "__typename":
                return text_sql(type_.name)
            case "kind":
                return _told("event_kind")
            case "moment":
                return _told("event_moment")
            case "goneId":
                return id_sql(self._plan.edge.target.name, _told("event_gone"))
            case "story":
                return self._story(member)
            case "storyEdge":
                return self._edge(member)
        raise NotCompiled(f"{type_.name}.{member.name} is declared in a way of its own")

    def _story(self, member: Selected) -> Sql:
        shape = self._plan.edge.target
        story = aliased(shape.model, name=self._compiler.binds.name("t"))
        entries = self._compiler.row(object_type(member), member, story, shape)
        return self._compiler.only(
            lambda *columns: self._row(story, columns), entries, is_unique=False
        )

    def _edge(self, member: Selected) -> Sql:
        shape, order = self._plan.edge.target, self._plan.edge.orders[self._plan.edge.default_order]
        story = aliased(shape.model, name=self._compiler.binds.name("t"))
        entries: Entries = []
        for item in self._compiler.selections.of(object_type(member), member.sets):
            if item.name == "__typename":
                value: Sql = text_sql(object_type(member).name)
            elif item.name == "cursor":
                value = cursor_sql(_told("event_digest"), order.keys(story, {}))
            elif item.name == "node":
                inner = self._compiler.row(object_type(item), item, story, shape)
                value = self._compiler.object(inner, story)
            else:
                raise NotCompiled(f"storyEdge.{item.name} is declared in a way of its own")
            entries.append((item.key, value))
        edge = self._compiler.only(
            lambda *columns: self._row(story, columns), entries, is_unique=False
        )
        return case((_told("event_kind") == text_sql("APPEARED"), edge), else_=null())

    def _row(self, story: Entity, columns: Any) -> SqlSelect:
        # unscoped: who is told was asked with the rule, in the same snapshot
        found = select(*columns).select_from(story)
        return found.where(getattr(story, self._plan.edge.target.key_name) == _told("event_key"))


def _told(name: str) -> Sql:
    return bindparam(name, type_=EVENT[name])
