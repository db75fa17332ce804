"""The payload of a mutation that succeeded, in SQL: the row that was written, and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import get_named_type
from sqlalchemy import DateTime, Integer, String, literal_column
from sqlalchemy.orm import aliased

from community_gql.graph.paging import cursor_sql
from community_gql.graph.plans import ResultPlan
from community_gql.graph.terms import Sql, SqlSelect, SqlType
from community_gql.graph.visibility import visible
from community_gql.operations.json_sql import Entries, text_sql
from community_gql.operations.selections import NotCompiled, Selected, object_type
from community_gql.schema.kinds import DerivedField
from community_gql.schema.results import ResultEdgeField, ResultField
from community_gql.schema.scalars import SQL_FORMS

if TYPE_CHECKING:
    from community_gql.operations.compiler import Compiler

NOTHING_TO_READ = "nothing to read"
"""Why a payload without rows is not compiled."""
_VALUES: dict[str, SqlType] = {
    "ID": String(),
    "Int": Integer(),
    "DateTime": DateTime(timezone=True),
}
"""The types of what a payload has of its own, by their scalars."""


class PayloadCompiler:
    """The members of one payload."""

    def __init__(self, compiler: Compiler, selected: Selected) -> None:
        self._compiler = compiler
        self._type = object_type(selected)
        self._members = compiler.selections.of(self._type, selected.sets)

    def entries(self) -> Entries:
        """The members and their values. Raises NotCompiled when none is read from the database."""
        if not any(_is_read(member) for member in self._members):
            raise NotCompiled(NOTHING_TO_READ)
        return [(member.key, self._value(member)) for member in self._members]

    def _value(self, member: Selected) -> Sql:
        compiler, field = self._compiler, member.declared
        if member.name == "__typename":
            return text_sql(self._type.name)
        if isinstance(field, ResultField):
            plan = compiler.binds.plan(member.node)
            assert isinstance(plan, ResultPlan)
            if isinstance(field, ResultEdgeField):
                return self._edge(member, field, plan)
            return compiler.lookup(member, plan.lookup, self._key(plan))
        if member.name == "query":
            root = object_type(member)
            selected = compiler.selections.of(root, member.sets)
            return compiler.object(
                [(item.key, compiler.root_field(root, item)) for item in selected]
            )
        if member.name == "userErrors":
            return literal_column("'[]'::json")
        type_ = get_named_type(member.definition.type).name
        if isinstance(field, DerivedField) and field.derive is not None and type_ in _VALUES:
            value = compiler.binds.outcome(field.derive, _VALUES[type_])
            return SQL_FORMS[type_](value) if type_ in SQL_FORMS else value
        raise NotCompiled(f"{self._type.name}.{member.name} is declared in a way of its own")

    def _key(self, plan: ResultPlan) -> Sql:
        column = getattr(plan.lookup.shape.model, plan.lookup.by)
        return self._compiler.binds.outcome(lambda outcome: outcome.key, column.type)

    def _edge(self, selected: Selected, field: ResultEdgeField, plan: ResultPlan) -> Sql:
        compiler, shape = self._compiler, plan.lookup.shape
        entity = aliased(shape.model, name=compiler.binds.name("t"))
        names, cursors = field.cursors
        type_ = object_type(selected)
        entries: Entries = []
        for item in compiler.selections.of(type_, selected.sets):
            if item.name == "__typename":
                value: Sql = text_sql(type_.name)
            elif item.name == "cursor":
                keys = [getattr(entity, name) for name in names]
                value = cursor_sql(text_sql(cursors.digest), keys)
            else:
                members = compiler.row(object_type(item), item, entity, shape)
                value = compiler.object(members, entity)
            entries.append((item.key, value))
        key = self._key(plan)

        def query(*columns: Any) -> SqlSelect:
            return visible(entity, *columns).where(getattr(entity, plan.lookup.by) == key)

        return compiler.only(query, entries, is_unique=False)


def _is_read(member: Selected) -> bool:
    return isinstance(member.declared, ResultField) or member.name == "query"
