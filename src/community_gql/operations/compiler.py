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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_never

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
    BigInteger,
    ColumnElement,
    Integer,
    String,
    case,
    cast,
    column,
    func,
    inspect,
    literal_column,
    null,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.orm import aliased

from community_gql.db.changes import MOMENT_SQL
from community_gql.db.models import VIEWER
from community_gql.graph.edges import Shape
from community_gql.graph.plans import (
    ChangesPlan,
    Lookup,
    LookupPlan,
    LookupsPlan,
    MomentPlan,
    PagePlan,
    Plans,
    ResultPlan,
    RowsPlan,
    ValuePlan,
    ViewerPlan,
)
from community_gql.graph.statements import few
from community_gql.graph.terms import Entity, FromItem, Sql, SqlSelect, SqlType
from community_gql.graph.texts import TextMeter
from community_gql.graph.visibility import is_everyones, visible
from community_gql.operations.connections import ConnectionCompiler
from community_gql.operations.cost import characters_of
from community_gql.operations.events import EventCompiler
from community_gql.operations.json_sql import (
    Entries,
    built,
    fits,
    is_list_of_numbers,
    labelled,
    list_sql,
    of_row,
    shaped,
    single,
    text_sql,
)
from community_gql.operations.payloads import PayloadCompiler
from community_gql.operations.selections import NotCompiled, Selected, Selections, object_type
from community_gql.operations.statement import Binds, Statement
from community_gql.operations.throttle import rest
from community_gql.schema.executable import core
from community_gql.schema.ids import id_sql
from community_gql.schema.kinds import (
    ColumnField,
    EdgeField,
    ExpressionField,
    IdField,
    OneField,
    PageField,
    ThroughField,
    ValueField,
)
from community_gql.schema.lengths import CHARACTERS
from community_gql.schema.scalars import SQL_FORMS

MAX_STATEMENT = 200_000
"""Characters of SQL that are worth planning."""

_DIALECT: Any = asyncpg_dialect()  # type: ignore[no-untyped-call]


class _Throttled(_DIALECT.statement_compiler):  # type: ignore[misc]
    def visit_select(self, *given: Any, **named: Any) -> str:
        rest()
        text: str = super().visit_select(*given, **named)
        return text


_DIALECT.statement_compiler = _Throttled

_WHOLE = "object$"


def compile_operation(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: VariableValues,
    plans: Plans,
    near_rows: int,
    max_bytes: int,
    *,
    payload: str | None = None,
    counts_texts: bool = False,
) -> Statement:
    """The statement of a query, or of one event of a subscription.

    For ``near_rows`` see ``page_of``. Of a mutation that succeeded it is the statement of the
    ``payload`` with this response key. Its value is NULL instead of a text of more than
    ``max_bytes``. With ``counts_texts`` it also stops reading long texts when they have more bytes
    together: what is not read takes no memory. Raises NotCompiled for what only the loaders can
    run, and for a payload for which nothing is read.
    """
    meter = TextMeter(literal_column(str(max_bytes), BigInteger)) if counts_texts else None
    compiler = Compiler(Selections(fragments, variables), Binds(plans), near_rows, meter)
    root = core.get_root_type(operation.operation)
    assert root is not None
    fields = compiler.selections.of(root, [operation.selection_set])
    if payload is None:
        entries = [(selected.key, compiler.root_field(root, selected)) for selected in fields]
    else:
        (wanted,) = (selected for selected in fields if selected.key == payload)
        entries = PayloadCompiler(compiler, wanted).entries()
    return compiler.finished(entries, max_bytes)


class Compiler:
    """Compiles one operation."""

    def __init__(
        self,
        selections: Selections,
        binds: Binds,
        near_rows: int,
        meter: TextMeter | None = None,
    ) -> None:
        self.selections, self.binds, self.near_rows = selections, binds, near_rows
        self._meter = meter
        self.custom_plan = False
        """Whether a page of it wants a plan for its values."""

    def finished(self, entries: Entries, max_bytes: int) -> Statement:
        """The statement of the object with these members."""
        # unscoped: the outermost shell; each root field is scoped on its own
        whole = select(cast(self.object(entries), String).label("text"))
        # OFFSET keeps it from being put in the place of both mentions, and made twice.
        text = whole.offset(literal_column("0")).subquery("data$").c.text
        is_short = func.octet_length(text) <= literal_column(str(max_bytes), Integer)
        if self._meter is not None:
            is_short &= self._meter.is_below
        # unscoped: the same
        shell = select(case((is_short, func.convert_to(text, literal_column("'UTF8'")))))
        compiled = shell.compile(dialect=_DIALECT)
        if len(compiled.string) > MAX_STATEMENT:
            raise NotCompiled("the statement would be too long")
        return self.binds.statement(compiled, self.custom_plan)

    # JSON

    def object(self, entries: Entries, *sources: FromItem) -> Sql:
        """One object, whose values may speak of ``sources``."""
        if not fits(entries):
            return built(entries)
        shape = shaped(entries)
        row = (
            shape.correlate(*sources).lateral(self.binds.name("o"))
            if sources
            else shape.subquery(self.binds.name("o"))
        )
        return of_row(row)

    def only(self, query: Callable[..., SqlSelect], entries: Entries, *, is_unique: bool) -> Sql:
        """The object of the only row of ``query(*columns)``, or NULL.

        Of one that is not known to find one row at most, the first: a LIMIT, which keeps
        PostgreSQL from making one step of the subselects.
        """
        whole = fits(entries)
        found = query(*labelled(entries)) if whole else query(built(entries))
        if not is_unique:
            found = found.limit(literal_column("1"))
        return of_row(found.subquery(self.binds.name("o"))) if whole else found.scalar_subquery()

    # Objects

    def row(
        self, type_: GraphQLObjectType, parent: Selected, entity: Entity, shape: Shape
    ) -> Entries:
        """The members of an object of ``type_`` that stands in the row ``entity``."""
        return [
            (selected.key, self._field(type_, selected, entity, shape))
            for selected in self.selections.of(type_, parent.sets)
        ]

    def _field(
        self, type_: GraphQLObjectType, selected: Selected, entity: Entity, shape: Shape
    ) -> Sql:
        rest()
        field, definition = selected.declared, selected.definition
        if selected.name == "__typename":
            return text_sql(type_.name)
        if isinstance(field, ExpressionField):
            return self._leaf(selected, field.expression(entity), entity, shape)
        if isinstance(field, ColumnField):
            column_: Any = getattr(entity, field.attribute or field.python_name)
            value = self._leaf(selected, column_, entity, shape)
            if self._meter is not None and characters_of(field) > CHARACTERS:
                value = self._meter.counted(column_, value)
            return value
        if isinstance(field, IdField):
            return id_sql(shape.name, getattr(entity, shape.model.__global_key__))
        if isinstance(field, ValueField):
            binds = {
                name: self.binds.value(selected.node, name, bind)
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
            return self._page(selected, entity)
        raise NotCompiled(f"{type_.name}.{selected.name} is declared in a way of its own")

    def _leaf(self, selected: Selected, value: Sql, entity: Entity, shape: Shape) -> Sql:
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
                *(
                    (value == text_sql(_stored(v.value)), text_sql(n))
                    for n, v in named.values.items()
                ),
                else_=cast(cast(refusal.op("||")(value), JSON), String),
            )
        elif form := SQL_FORMS.get(named.name):
            value = form(value)
        elif isinstance(value.type, JSONB) and listed_:
            if named.name != "Float":
                raise NotCompiled(f"{selected.name} is a list kept as JSONB")
            value = case(
                (is_list_of_numbers(value), cast(value, JSON)),
                (value.is_not(None), cast(refusal, JSON)),
            )
        if is_non_null_type(type_) and isinstance(value.type, JSONB):
            value, nullable = func.nullif(value, literal_column("'null'::jsonb")), True
        if is_non_null_type(type_) and nullable:
            value = func.coalesce(func.to_json(value), cast(refusal, JSON))
        return value

    def _one(self, selected: Selected, field: OneField, entity: Entity) -> Sql:
        edge = field.source
        name = self.binds.name("t")
        key = edge.key_in(entity) if is_everyones(edge.target.model) else None
        if key is not None and self._asks_for_key_alone(selected, edge.target):
            # The row must be there, and nothing is asked of it that its parent does not have.
            row = _stand_in(edge.target, key).correlate(entity).lateral(name)
            child = aliased(edge.target.model, row)
        else:
            child = aliased(edge.target.model, name=name)
            row = None
        entries = self.row(object_type(selected), selected, child, edge.target)

        def query(*columns: Sql) -> SqlSelect:
            if row is not None:
                found = select(*columns).select_from(row)  # unscoped: a row that everyone may see
            else:
                found = visible(child, *columns).where(edge.arrives(entity, child))
            return found.correlate(entity)

        return self.only(query, entries, is_unique=row is not None or edge.is_unique)

    def _asks_for_key_alone(self, selected: Selected, shape: Shape) -> bool:
        """Whether all that is asked of a row, and hangs on it, starts from its primary key."""
        return all(
            inner.name == "__typename" or _starts_from_key(inner.declared, shape)
            for inner in self.selections.of(object_type(selected), selected.sets)
        )

    def _through(self, selected: Selected, field: ThroughField, entity: Entity) -> Sql:
        edge = field.source
        child = aliased(edge.target.model, name=self.binds.name("t"))
        entries = self.row(object_type(selected), selected, child, edge.target)
        # A row as it stands: an object made apart for each row is a subselect for each row.
        whole = fits(entries)
        columns = labelled(entries) if whole else [built(entries).label(_WHOLE)]
        items = few(edge, entity, child, columns).subquery(self.binds.name("l"))
        return single(list_sql(items.table_valued() if whole else items.c[_WHOLE]))

    # The root

    def root_field(self, root: GraphQLObjectType, selected: Selected) -> Sql:
        """The value of a field of Query."""
        if selected.name == "__typename":
            return text_sql(root.name)
        field = selected.declared
        if not isinstance(field, EdgeField):
            raise NotCompiled(f"{selected.name} is not a field of ours")
        plan = self.binds.plan(selected.node)
        match plan:
            case PagePlan():
                return self._page(selected, None)
            case ViewerPlan():
                return self.lookup(selected, plan.lookup, VIEWER)
            case LookupPlan():
                if plan.lookup is None:
                    return null()
                key = self.binds.value(selected.node, "key", key_type(plan.lookup))
                return self.lookup(selected, plan.lookup, key)
            case LookupsPlan():
                return self._lookups(selected, plan)
            case MomentPlan():
                return single(literal_column(MOMENT_SQL, String))
            case ChangesPlan():
                return self.object(EventCompiler(self, selected, plan).entries())
            case RowsPlan() | ValuePlan() | ResultPlan():
                raise NotCompiled(f"{root.name}.{selected.name} is loaded in a way of its own")
            case _:
                assert_never(plan)

    def _page(self, selected: Selected, parent: Entity) -> Sql:
        plan = self.binds.plan(selected.node)
        assert isinstance(plan, PagePlan)
        return ConnectionCompiler(self, selected, plan, parent).object()

    def lookup(self, selected: Selected, lookup: Lookup, key: Sql, *sources: FromItem) -> Sql:
        """The object of the row with this key, or NULL."""
        shape = lookup.shape
        entity = aliased(shape.model, name=self.binds.name("t"))
        type_ = core.get_type(shape.name)
        assert isinstance(type_, GraphQLObjectType)
        entries = self.row(type_, selected, entity, shape)

        def query(*columns: Sql) -> SqlSelect:
            found = visible(entity, *columns).where(getattr(entity, lookup.by) == key)
            return found.correlate(*sources) if sources else found

        return self.only(query, entries, is_unique=True)

    def _lookups(self, selected: Selected, plan: LookupsPlan) -> Sql:
        """A list of lookups of several types: those of one type share a subselect."""
        lookups = sorted(plan.form, key=_lookup_name)
        nowhere = self._places(self.binds.value(selected.node, "places", ARRAY(Integer)))
        # unscoped: no table, places in the list only
        parts = [select(nowhere.c.place, null().cast(JSON).label(_WHOLE))]
        for lookup in lookups:
            name, type_ = lookup.shape.name, key_type(lookup)
            keys = self.binds.value(selected.node, f"keys_{name}", ARRAY(type_))
            places = self.binds.value(selected.node, f"places_{name}", ARRAY(Integer))
            asked = (
                func.unnest(keys, places)
                .table_valued(column("key", type_), column("place", Integer))
                .render_derived(name=self.binds.name("k"))
            )
            found = self.lookup(selected, lookup, asked.c.key, asked)
            # unscoped: the subselect beside the place is scoped
            parts.append(select(asked.c.place, found.label(_WHOLE)))
        whole = union_all(*parts).subquery(self.binds.name("l"))
        return single(list_sql(whole.c[_WHOLE], order=whole.c.place))

    def _places(self, places: Sql) -> FromItem:
        listed_ = func.unnest(places).table_valued(column("place", Integer))
        return listed_.render_derived(name=self.binds.name("k"))


def _refusal(selected: Selected, entity: Entity, shape: Shape) -> ColumnElement[str]:
    """A text that is not JSON, and that the planner cannot know: to be cast where it must fail."""
    key = cast(getattr(entity, shape.key_name), String)
    return text_sql(f"no value of {selected.name} for ").op("||")(key)


def _stored(value: Any) -> str:
    """The stored text of an enum's value, however deep Strawberry wraps it."""
    while not isinstance(value, str):
        value = value.value
    return str(getattr(value, "value", value))


def _is_plain(named: object) -> bool:
    return not isinstance(named, GraphQLEnumType) and not is_list_type(named)


def _starts_from_key(field: object, shape: Shape) -> bool:
    """Whether an edge needs nothing of the row it starts from but its primary key."""
    edges = OneField | ThroughField | PageField
    return isinstance(field, edges) and field.source.starts_from() == {shape.key_name}


def _stand_in(shape: Shape, key: Sql) -> SqlSelect:
    """A row of the shape's table that has nothing but its primary key."""
    column_: Any = key.label(shape.key_name)
    # An alias finds its columns in what it stands for by where they come from.
    column_._proxies.append(inspect(shape.model).primary_key[0])
    return select(column_)  # unscoped: of a row that everyone may see


def _column_of(value: Sql) -> Any:
    """The table's column behind an attribute of an entity, if it is one."""
    found = getattr(value, "property", None)
    columns = getattr(found, "columns", None)
    return columns[0] if columns else None


def _lookup_name(lookup: Lookup) -> tuple[str, str]:
    return lookup.shape.name, lookup.by


def key_type(lookup: Lookup) -> SqlType:
    """The type of the column by which a lookup finds its rows."""
    type_: SqlType = getattr(lookup.shape.model, lookup.by).type
    return type_
