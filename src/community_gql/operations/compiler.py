"""An operation as one SELECT of one value: the JSON text of ``data``.

Everything about the graph comes from the declarations: where an edge leads (``Edge.arrives``),
who may see it (``visible``), how lists are filtered, ordered and cut (``page_of``, ``beyond``),
what a value looks like (``SQL_FORMS``, ``id_sql``, ``cursor_sql``). What stands here is how
objects, lists and pages become JSON.

- An object is ``row_to_json`` over a subselect whose columns are its response keys.
- A field to one row is a scalar subselect, so that it runs once per row of the page.
- A page is its own rows (``page``), numbered where one too many is fetched, joined LATERAL to the
  objects made of them, aggregated.
- What the loaders would answer with an error (null where the schema has none) makes the statement
  fail on purpose; the loaders then run the operation and report it.

Names made here hold a ``$``, which no GraphQL name does: a response key never hides them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from graphql import (
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLObjectType,
    OperationDefinitionNode,
    get_nullable_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.values import VariableValues
from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Integer,
    Select,
    String,
    bindparam,
    case,
    cast,
    column,
    false,
    func,
    inspect,
    literal_column,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB, aggregate_order_by
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.orm import aliased
from sqlalchemy.types import TypeEngine

from community_gql.graph.loaders import (
    Cut,
    Lookup,
    Pages,
    Shape,
    ToPage,
    Value,
    all_columns,
    count_of,
    directed,
    filter_binds,
    page_of,
)
from community_gql.graph.paging import MAX_COUNT, cursor_binds, cursor_sql
from community_gql.graph.visibility import Viewer, is_everyones, visible
from community_gql.operations.selections import NotCompiled, Selected, Selections, object_type
from community_gql.operations.throttle import rest
from community_gql.schema.executable import core
from community_gql.schema.fields import (
    ColumnField,
    EdgeField,
    ExpressionField,
    IdField,
    OneField,
    PageField,
    ThroughField,
    ValueField,
)
from community_gql.schema.ids import id_sql
from community_gql.schema.scalars import SQL_FORMS

MAX_STATEMENT = 200_000
"""Characters of SQL that are worth planning."""

_DIALECT: Any = asyncpg_dialect()  # type: ignore[no-untyped-call]


class _Paced(_DIALECT.statement_compiler):  # type: ignore[misc]
    def visit_select(self, *given: Any, **named: Any) -> str:
        rest()
        text: str = super().visit_select(*given, **named)
        return text


_DIALECT.statement_compiler = _Paced

_IDENTIFIER_BYTES = 63  # PostgreSQL cuts longer names, silently
_OBJECT_PAIRS = 50  # a function takes 100 arguments
_COLUMNS = 1600  # a SELECT list has at most 1664
_WHOLE = "object$"

Entries = list[tuple[str, ColumnElement[Any]]]
"""The members of a JSON object: response keys and values."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A compiled operation: its text, and where the value of each ``$n`` comes from."""

    text: str
    arguments: list[Any]
    """The values in order; places named below are to be filled in."""
    viewer: list[tuple[int, str]]
    """Place, name in ``Viewer.binds()``."""
    asked: list[tuple[int, int, str]]
    """Place, id of the field node, name in ``values_of`` its plan."""
    anew: bool
    """Whether PostgreSQL should plan it for its values each time, see ``Pages.planned_anew``."""


def compile_operation(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: VariableValues,
    plans: Mapping[int, Any],
    varying: set[int],
    max_bytes: int,
) -> Statement:
    """The statement of a query; its value is NULL for data of more than ``max_bytes``.

    ``plans`` are of the argument pass, by id of the field node.

    The values of the plans in ``varying`` are left open; the others are part of the statement.
    Raises NotCompiled for what only the loaders can run.
    """
    return _Compiler(Selections(fragments, variables), plans, varying).compile(operation, max_bytes)


def arguments_of(
    statement: Statement, plans: Mapping[int, Any], viewer: Mapping[str, Any]
) -> list[Any]:
    """The values of ``$1``, ``$2``, ... for one request."""
    arguments = list(statement.arguments)
    for place, name in statement.viewer:
        arguments[place] = viewer[name]
    values: dict[int, dict[str, Any]] = {}
    for place, node, local in statement.asked:
        if node not in values:
            values[node] = values_of(plans[node])
        arguments[place] = values[node][local]
    return arguments


def values_of(plan: Any) -> dict[str, Any]:
    """The values that a plan gives to the binds of its field, by name."""
    if isinstance(plan, Pages):
        values = {**plan.values(), "digest": plan.cursors.digest}
    elif isinstance(plan, Value):
        values = plan.values()
    elif isinstance(plan, tuple):
        values = {"key": plan[1]}
    elif isinstance(plan, list):
        values = {"places": [i for i, found in enumerate(plan) if found is None]}
        for place, found in enumerate(plan):
            if found is not None:
                name = found[0].shape.name
                values.setdefault(f"keys_{name}", []).append(found[1])
                values.setdefault(f"places_{name}", []).append(place)
    else:
        values = {}
    # asyncpg takes arrays as lists; what is hashable in a plan is a tuple.
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def form_of(plan: Any) -> Any:
    """What of a plan decides the text of the statement; hashable."""
    if isinstance(plan, Pages):
        return plan.form
    if isinstance(plan, tuple):
        return plan[0]
    if isinstance(plan, list):
        return frozenset(found[0] for found in plan if found is not None)
    return None


class _Compiler:
    def __init__(self, selections: Selections, plans: Mapping[int, Any], varying: set[int]) -> None:
        self._selections, self._plans, self._varying = selections, plans, varying
        self._numbers = count(1)
        self._binds: dict[str, tuple[int, str]] = {}
        self._values: dict[int, dict[str, Any]] = {}
        self.anew = False

    def compile(self, operation: OperationDefinitionNode, max_bytes: int) -> Statement:
        root = core.query_type
        assert root is not None
        entries = [
            (selected.key, self._root_field(root, selected))
            for selected in self._selections.of(root, [operation.selection_set])
        ]
        # unscoped: the outermost shell; each root field is scoped on its own
        whole = select(cast(self._object(entries), String).label("text"))
        # OFFSET keeps it from being put in the place of both mentions, and made twice.
        text = whole.offset(literal_column("0")).subquery(self._name("data")).c.text
        fits = func.octet_length(text) <= literal_column(str(max_bytes), Integer)
        # unscoped: the same
        shell = select(case((fits, func.convert_to(text, literal_column("'UTF8'")))))
        compiled = shell.compile(dialect=_DIALECT)
        if len(compiled.string) > MAX_STATEMENT:
            raise NotCompiled("the statement would be too long")
        return self._statement(compiled)

    def _statement(self, compiled: Any) -> Statement:
        statement = Statement(compiled.string, [], [], [], self.anew)
        viewer = Viewer().binds()
        for place, name in enumerate(compiled.positiontup):
            value = None
            if name in self._binds:
                node, local = self._binds[name]
                if node in self._varying:
                    statement.asked.append((place, node, local))
                else:
                    value = self._known(node)[local]
            elif name in viewer:
                statement.viewer.append((place, name))
            else:
                value = compiled.params[name]
            statement.arguments.append(value)
        return statement

    # Names and binds

    def _name(self, stem: str) -> str:
        return f"{stem}${next(self._numbers)}"

    def _plan(self, selected: Selected) -> Any:
        return self._plans[id(selected.nodes[0])]

    def _known(self, node: int) -> dict[str, Any]:
        if node not in self._values:
            self._values[node] = values_of(self._plans[node])
        return self._values[node]

    def _bind(self, selected: Selected, local: str, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        """The value ``local`` of the field's plan, as a bind of its own for this place."""
        name = f"b{next(self._numbers)}"
        self._binds[name] = (id(selected.nodes[0]), local)
        return bindparam(name, type_=type_)

    def _prefix(self, selected: Selected, names: Sequence[str]) -> str:
        """A prefix for the binds that declarations make by themselves."""
        prefix = f"b{next(self._numbers)}_"
        self._binds.update((prefix + name, (id(selected.nodes[0]), name)) for name in names)
        return prefix

    # JSON

    def _object(self, entries: Entries, *sources: Any) -> ColumnElement[Any]:
        """One object, whose values may speak of ``sources``."""
        if not _fits(entries):
            return _built(entries)
        shaped = _shaped(entries)
        row = (
            shaped.correlate(*sources).lateral(self._name("o"))
            if sources
            else shaped.subquery(self._name("o"))
        )
        return _of_row(row)

    def _only(self, query: Callable[..., Select[Any]], entries: Entries) -> ColumnElement[Any]:
        """The object of the only row of ``query(*columns)``, or NULL."""
        one: ColumnElement[Any] = literal_column("1")
        if not _fits(entries):
            return query(_built(entries)).limit(one).scalar_subquery()
        return _of_row(query(*_labelled(entries)).limit(one).subquery(self._name("o")))

    # Objects

    def _row(
        self, type_: GraphQLObjectType, parent: Selected, entity: Any, shape: Shape
    ) -> Entries:
        """The members of an object of ``type_`` that stands in the row ``entity``."""
        return [
            (selected.key, self._field(type_, selected, entity, shape))
            for selected in self._selections.of(type_, parent.sets)
        ]

    def _field(
        self, type_: GraphQLObjectType, selected: Selected, entity: Any, shape: Shape
    ) -> ColumnElement[Any]:
        rest()
        field, definition = selected.declared, selected.definition
        if selected.name == "__typename":
            return _text(type_.name)
        if isinstance(field, ExpressionField):
            return self._leaf(selected, field.expression(entity), entity, shape)
        if isinstance(field, ColumnField):
            name = field.attribute or field.python_name
            return self._leaf(selected, getattr(entity, name), entity, shape)
        if isinstance(field, IdField):
            return id_sql(shape.name, getattr(entity, shape.model.__global_key__))
        if isinstance(field, ValueField):
            binds = {
                name: self._bind(selected, name, bind)
                for name, bind in field.source.arguments.items()
            }
            expression = field.source.expression(entity, **binds)
            return self._leaf(selected, expression, entity, shape)
        if isinstance(field, OneField):
            value = self._one(selected, field, entity)
            if is_non_null_type(definition.type):
                value = func.coalesce(value, cast(_refusal(selected, entity, shape), JSON))
            return value
        if isinstance(field, ThroughField):
            return self._through(selected, field, entity)
        if isinstance(field, PageField):
            return self._page(selected, field.source, entity)
        raise NotCompiled(f"{type_.name}.{selected.name} is declared in a way of its own")

    def _leaf(
        self, selected: Selected, value: ColumnElement[Any], entity: Any, shape: Shape
    ) -> ColumnElement[Any]:
        type_ = selected.definition.type
        inner = get_nullable_type(type_)
        listed_ = is_list_type(inner)
        named: Any = get_nullable_type(inner.of_type) if listed_ else inner  # type: ignore[union-attr]
        if listed_ and (named.name in SQL_FORMS or not _is_plain(named)):
            raise NotCompiled(f"{selected.name} is a list of {named.name}")
        refusal = _refusal(selected, entity, shape)
        nullable = getattr(_column_of(value), "nullable", True)
        if isinstance(named, GraphQLEnumType):
            # An unknown value is not JSON: the statement fails. NULL stays NULL.
            value = case(
                *((value == _text(_stored(v.value)), _text(n)) for n, v in named.values.items()),
                else_=cast(cast(refusal.op("||")(value), JSON), String),
            )
        elif form := SQL_FORMS.get(named.name):
            value = form(value)
        elif isinstance(value.type, JSONB) and listed_:
            if named.name != "Float":
                raise NotCompiled(f"{selected.name} is a list kept as JSONB")
            value = case(
                (_is_list_of_numbers(value), cast(value, JSON)),
                (value.is_not(None), cast(refusal, JSON)),
            )
        if is_non_null_type(type_) and isinstance(value.type, JSONB):
            value, nullable = func.nullif(value, literal_column("'null'::jsonb")), True
        if is_non_null_type(type_) and nullable:
            value = func.coalesce(func.to_json(value), cast(refusal, JSON))
        return value

    def _one(self, selected: Selected, field: OneField, entity: Any) -> ColumnElement[Any]:
        edge = field.source
        name = self._name("t")
        key = edge.key_in(entity) if is_everyones(edge.target.model) else None
        if key is not None and self._asks_for_key_alone(selected, edge.target):
            # The row must be there, and nothing is asked of it that its parent does not have.
            row = _stand_in(edge.target, key).correlate(entity).lateral(name)
            child = aliased(edge.target.model, row)
        else:
            child = aliased(edge.target.model, name=name)
            row = None
        entries = self._row(object_type(selected), selected, child, edge.target)

        def query(*columns: Any) -> Select[Any]:
            if row is not None:
                found = select(*columns).select_from(row)  # unscoped: a row that everyone may see
            else:
                found = visible(child, *columns).where(edge.arrives(entity, child))
            return found.correlate(entity)

        return self._only(query, entries)

    def _asks_for_key_alone(self, selected: Selected, shape: Shape) -> bool:
        """Whether all that is asked of a row, and hangs on it, starts from its primary key."""
        return all(
            inner.name == "__typename" or _starts_from_key(inner.declared, shape)
            for inner in self._selections.of(object_type(selected), selected.sets)
        )

    def _through(self, selected: Selected, field: ThroughField, entity: Any) -> ColumnElement[Any]:
        edge = field.source
        child = aliased(edge.target.model, name=self._name("t"))
        entries = self._row(object_type(selected), selected, child, edge.target)
        items = (
            visible(child, self._object(entries, child).label(_WHOLE))
            .where(edge.arrives(entity, child))
            .order_by(*directed(edge.order, edge.order.keys(child, {}), False))
            .correlate(entity)
            .subquery(self._name("l"))
        )
        return _single(_list(items.c[_WHOLE]))

    # Pages

    def _page(self, selected: Selected, edge: ToPage, parent: Any) -> ColumnElement[Any]:
        return _Page(self, selected, edge, parent).object()

    # The root

    def _root_field(self, root: GraphQLObjectType, selected: Selected) -> ColumnElement[Any]:
        if selected.name == "__typename":
            return _text(root.name)
        field = selected.declared
        if not isinstance(field, EdgeField):
            raise NotCompiled(f"{selected.name} is not a field of ours")
        plan = self._plan(selected)
        if isinstance(plan, Pages):
            return self._page(selected, plan.edge, None)
        if plan is None:
            return null()
        if isinstance(plan, tuple):
            lookup, key = plan
            if not isinstance(key, ColumnElement):
                key = self._bind(selected, "key", _key_type(lookup))
            return self._lookup(selected, lookup, key)
        if isinstance(plan, list):
            return self._lookups(selected, plan)
        raise NotCompiled(f"{root.name}.{selected.name} is loaded in a way of its own")

    def _lookup(
        self, selected: Selected, lookup: Lookup, key: ColumnElement[Any], *sources: Any
    ) -> ColumnElement[Any]:
        shape = lookup.shape
        entity = aliased(shape.model, name=self._name("t"))
        type_ = core.get_type(shape.name)
        assert isinstance(type_, GraphQLObjectType)
        entries = self._row(type_, selected, entity, shape)

        def query(*columns: Any) -> Select[Any]:
            found = visible(entity, *columns).where(getattr(entity, lookup.by) == key)
            return found.correlate(*sources) if sources else found

        return self._only(query, entries)

    def _lookups(self, selected: Selected, plan: list[Any]) -> ColumnElement[Any]:
        """A list of lookups of several types: those of one type share a subselect."""
        lookups = sorted({found[0] for found in plan if found is not None}, key=_lookup_name)
        nowhere = self._places(self._bind(selected, "places", ARRAY(Integer)))
        # unscoped: no table, places in the list only
        parts = [select(nowhere.c.place, null().cast(JSON).label(_WHOLE))]
        for lookup in lookups:
            name, type_ = lookup.shape.name, _key_type(lookup)
            keys = self._bind(selected, f"keys_{name}", ARRAY(type_))
            places = self._bind(selected, f"places_{name}", ARRAY(Integer))
            asked = (
                func.unnest(keys, places)
                .table_valued(column("key", type_), column("place", Integer))
                .render_derived(name=self._name("k"))
            )
            found = self._lookup(selected, lookup, asked.c.key, asked)
            # unscoped: the subselect beside the place is scoped
            parts.append(select(asked.c.place, found.label(_WHOLE)))
        whole = union_all(*parts).subquery(self._name("l"))
        return _single(_list(whole.c[_WHOLE], order=whole.c.place))

    def _places(self, places: ColumnElement[Any]) -> Any:
        listed_ = func.unnest(places).table_valued(column("place", Integer))
        return listed_.render_derived(name=self._name("k"))


_MAX_COUNT: ColumnElement[int] = literal_column(str(MAX_COUNT), Integer)
_COUNTS: dict[str, Callable[[ColumnElement[Any]], ColumnElement[Any]]] = {
    "totalCount": lambda n: func.least(n, _MAX_COUNT),
    "totalCountIsExact": lambda n: n <= _MAX_COUNT,
}
"""The members of a connection that tell of its count, made of the number of ``count_of``."""


class _Page:
    """The connection of one field for one parent: its rows once, and all that is told of them."""

    def __init__(self, compiler: _Compiler, selected: Selected, edge: ToPage, parent: Any) -> None:
        self._c, self._selected, self._edge, self._parent = compiler, selected, edge, parent
        self._type = object_type(selected)
        self._plan: Pages = compiler._plan(selected)
        self._backward = self._plan.window.backward
        self._members = compiler._selections.of(self._type, selected.sets)
        self._info = {
            info.name
            for member in self._members
            if member.name == "pageInfo"
            for info in compiler._selections.of(object_type(member), member.sets)
        }
        # Whether one row too many is fetched, to see that there are more.
        self._more = ("hasPreviousPage" if self._backward else "hasNextPage") in self._info
        names = [name for name, _ in self._plan.filters]
        compiler.anew |= self._plan.planned_anew
        self._filters = filter_binds(edge, names, compiler._prefix(selected, names))
        self._counted = self._count() if any(m.name in _COUNTS for m in self._members) else None
        self._laterals: list[Any] = []

    def object(self) -> ColumnElement[Any]:
        """The JSON of the connection."""
        names = {member.name for member in self._members}
        rows = names & {"nodes", "edges"} or self._more or self._info & {"startCursor", "endCursor"}
        if rows:
            self._read(numbered=bool(self._info & {"startCursor", "endCursor"}))
        if self._counted is not None:
            return self._with_counts(bool(rows))
        entries = [(member.key, self._member(member)) for member in self._members]
        if not rows:
            return self._c._object(entries, *self._parents)
        return self._from_rows(entries)

    def _with_counts(self, rows: bool) -> ColumnElement[Any]:
        """The connection beside its count, which all members that tell of it share."""
        members = {member.key: member for member in self._members}
        values = {k: self._member(m) for k, m in members.items() if m.name not in _COUNTS}
        if rows:
            # Its members are aggregates, the count is not: it stands beside them.
            labelled = [value.label(f"m${i}") for i, value in enumerate(values.values())]
            page = self._aggregated(labelled).subquery(self._c._name("a"))
            values = dict(zip(values, page.c, strict=True))
        entries = [(k, values[k] if k in values else self._member(m)) for k, m in members.items()]
        if _fits(entries):
            return _of_row(_shaped(entries).correlate(*self._parents).subquery(self._c._name("c")))
        # unscoped: of one row that aggregates scoped ones
        return select(_built(entries)).correlate(*self._parents).scalar_subquery()

    def _from_rows(self, entries: Entries) -> ColumnElement[Any]:
        if not _fits(entries):
            return self._aggregated([_built(entries)]).scalar_subquery()
        return _of_row(self._aggregated(_labelled(entries)).subquery(self._c._name("c")))

    def _aggregated(self, columns: list[Any]) -> Select[Any]:
        source: Any = self._rows
        for lateral in self._laterals:
            source = source.join(lateral, true())
        # unscoped: aggregates the rows of page_of
        query = select(*columns).select_from(source)
        return query if self._parent is None else query.correlate(self._parent)

    @property
    def _parents(self) -> list[Any]:
        return [] if self._parent is None else [self._parent]

    def _read(self, numbered: bool) -> None:
        edge, plan, c = self._edge, self._plan, self._c
        child = aliased(edge.target.model, name=c._name("t"))
        order = edge.orders[plan.order]
        keys = order.keys(child, self._filters)
        there: Sequence[ColumnElement[Any]] = ()
        if plan.cursor is not None:
            names = [f"cursor_{i}" for i in range(len(keys))]
            there = cursor_binds(keys, c._prefix(self._selected, names))
        limit = plan.window.size + 1 if self._more else plan.window.size
        self._limit = literal_column(str(limit), Integer)
        cut = Cut(order, self._backward, self._filters, there, limit, "key$")
        rows = page_of(edge, self._parent, child, all_columns, cut).subquery(c._name("q"))
        if numbered or self._more or self._backward:
            rows = _numbered(rows).subquery(c._name("p"))
        self._rows = rows
        self._keys = [rows.c[f"key${i}"] for i in range(len(keys))]
        self._entity = aliased(edge.target.model, rows)

    @property
    def _kept(self) -> ColumnElement[bool] | None:
        """Which rows are on the page: all but the one too many."""
        return self._rows.c["n$"] < self._limit if self._more else None

    def _member(self, member: Selected) -> ColumnElement[Any]:
        if member.name == "__typename":
            return _text(self._type.name)
        if member.name == "nodes":
            return self._items(self._nodes(object_type(member), member))
        if member.name == "edges":
            return self._items(self._edges(object_type(member), member))
        if member.name in _COUNTS:
            assert self._counted is not None
            return _COUNTS[member.name](self._counted.c.n)
        if member.name == "pageInfo":
            type_ = object_type(member)
            # Aggregates of the page's own SELECT: no subselect could hold them.
            return _built(
                [
                    (info.key, self._page_info(type_, info))
                    for info in self._c._selections.of(type_, member.sets)
                ]
            )
        raise NotCompiled(f"{self._type.name}.{member.name} is declared in a way of its own")

    def _nodes(self, type_: GraphQLObjectType, member: Selected) -> Entries:
        return self._c._row(type_, member, self._entity, self._edge.target)

    def _edges(self, type_: GraphQLObjectType, member: Selected) -> Entries:
        entries: Entries = []
        for item in self._c._selections.of(type_, member.sets):
            if item.name == "__typename":
                value: ColumnElement[Any] = _text(type_.name)
            elif item.name == "cursor":
                value = self._cursor()
            elif item.name == "node":
                value = self._c._object(self._nodes(object_type(item), item), self._rows)
            else:
                raise NotCompiled(f"{type_.name}.{item.name} is declared in a way of its own")
            entries.append((item.key, value))
        return entries

    def _items(self, entries: Entries) -> ColumnElement[Any]:
        if _fits(entries):
            lateral = _shaped(entries).correlate(self._rows).lateral(self._c._name("o"))
            self._laterals.append(lateral)
            item: ColumnElement[Any] = lateral.table_valued()
        else:
            item = _built(entries)
        # Forward, the rows arrive in the order of the subselect and json_agg takes them so.
        order = self._rows.c["n$"].desc() if self._backward else None
        return _list(item, self._kept, order)

    def _count(self) -> Any:
        other = aliased(self._edge.target.model, name=self._c._name("t"))
        query = count_of(self._edge, self._parent, other, self._filters)
        return query.subquery(self._c._name("n"))

    def _cursor(self) -> ColumnElement[str]:
        digest = self._c._bind(self._selected, "digest", String())
        return cursor_sql(digest, self._keys)

    def _page_info(self, type_: GraphQLObjectType, info: Selected) -> ColumnElement[Any]:
        if info.name == "__typename":
            return _text(type_.name)
        if info.name in ("hasNextPage", "hasPreviousPage"):
            if (info.name == "hasPreviousPage") == self._backward:
                return func.count() >= self._limit
            return true() if self._plan.window.cursor is not None else false()
        if info.name in ("startCursor", "endCursor"):
            n, found = self._rows.c["n$"], self._rows.c["found$"]
            at: ColumnElement[bool]
            if (info.name == "startCursor") != self._backward:
                at = n == literal_column("1")
                # `first: 0` reads one row too many as well, and has no start.
                at = at if self._kept is None else at & self._kept
            elif self._more:
                at = n == func.least(found, self._limit - literal_column("1"))
            else:
                at = n == found
            return func.max(self._cursor()).filter(at)
        raise NotCompiled(f"{type_.name}.{info.name} is declared in a way of its own")


# Small pieces of SQL


def _text(value: str) -> ColumnElement[str]:
    quoted = value.replace("'", "''")
    return literal_column(f"'{quoted}'", String)


def _fits(entries: Entries) -> bool:
    """Whether a SELECT list can have these response keys as its names."""
    return 0 < len(entries) <= _COLUMNS and all(len(key) <= _IDENTIFIER_BYTES for key, _ in entries)


def _labelled(entries: Entries) -> list[Any]:
    return [value.label(key) for key, value in entries]


def _shaped(entries: Entries) -> Select[Any]:
    return select(
        *_labelled(entries)
    )  # unscoped: values of rows that are scoped where they are read


def _of_row(row: Any) -> ColumnElement[Any]:
    return _single(func.row_to_json(row.table_valued()))


def _single(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return select(value).scalar_subquery()  # unscoped: of a subselect that is scoped


def _built(entries: Entries) -> ColumnElement[Any]:
    """The object by json_build_object: for any keys, and slower than a row."""
    parts = [
        func.json_build_object(
            *(item for key, value in entries[i : i + _OBJECT_PAIRS] for item in (_text(key), value))
        )
        for i in range(0, len(entries), _OBJECT_PAIRS)
    ]
    if len(parts) < 2:
        return parts[0] if parts else func.json_build_object()
    # One object of several: what is between their braces, with commas.
    inner = [
        func.left(func.substr(cast(part, String), literal_column("2")), literal_column("-1"))
        for part in parts
    ]
    text: ColumnElement[Any] = _text("{")
    for i, piece in enumerate(inner):
        text = text.op("||")(piece) if i == 0 else text.op("||")(_text(",")).op("||")(piece)
    return cast(text.op("||")(_text("}")), JSON)


def _list(
    item: ColumnElement[Any],
    where: ColumnElement[bool] | None = None,
    order: ColumnElement[Any] | None = None,
) -> ColumnElement[Any]:
    items: Any = func.json_agg(item if order is None else aggregate_order_by(item, order))
    if where is not None:
        items = items.filter(where)
    return func.coalesce(items, literal_column("'[]'::json"))


def _numbered(rows: Any) -> Select[Any]:
    numbers = func.row_number().over().label("n$"), func.count().over().label("found$")
    return select(*rows.c, *numbers)  # unscoped: the rows of page_of


def _refusal(selected: Selected, entity: Any, shape: Shape) -> ColumnElement[str]:
    """A text that is not JSON, and that the planner cannot know: to be cast where it must fail."""
    key = cast(getattr(entity, shape.key_name), String)
    return _text(f"no value of {selected.name} for ").op("||")(key)


def _stored(value: Any) -> str:
    """The stored text of an enum's value, however deep Strawberry wraps it."""
    while not isinstance(value, str):
        value = value.value
    return str(getattr(value, "value", value))


def _is_plain(named: Any) -> bool:
    return not isinstance(named, GraphQLEnumType) and not is_list_type(named)


def _is_list_of_numbers(value: ColumnElement[Any]) -> ColumnElement[bool]:
    path: ColumnElement[Any] = literal_column("'strict $[*] ? (@.type() != \"number\")'::jsonpath")
    return (func.jsonb_typeof(value) == _text("array")) & ~func.jsonb_path_exists(
        value, path, type_=Boolean
    )


def _starts_from_key(field: Any, shape: Shape) -> bool:
    """Whether an edge needs nothing of the row it starts from but its primary key."""
    edges = OneField | ThroughField | PageField
    return isinstance(field, edges) and field.source.starts_from() == {shape.key_name}


def _stand_in(shape: Shape, key: ColumnElement[Any]) -> Select[Any]:
    """A row of the shape's table that has nothing but its primary key."""
    column_: Any = key.label(shape.key_name)
    # An alias finds its columns in what it stands for by where they come from.
    column_._proxies.append(inspect(shape.model).primary_key[0])
    return select(column_)  # unscoped: of a row that everyone may see


def _column_of(value: ColumnElement[Any]) -> Any:
    """The table's column behind an attribute of an entity, if it is one."""
    found = getattr(value, "property", None)
    columns = getattr(found, "columns", None)
    return columns[0] if columns else None


def _lookup_name(lookup: Lookup) -> tuple[str, str]:
    return lookup.shape.name, lookup.by


def _key_type(lookup: Lookup) -> TypeEngine[Any]:
    type_: TypeEngine[Any] = getattr(lookup.shape.model, lookup.by).type
    return type_
