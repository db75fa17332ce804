"""Plans: what a field of an operation asks for, once its arguments are read.

A plan knows three things: its ``form`` decides the text of a statement, its ``weight`` the cost,
and ``values`` are what is bound. Some plans are also batches: the loaders run one statement for
all parents that ask for the same.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from community_gql.db.changes import Moment
from community_gql.errors import BadRequest
from community_gql.graph import statements
from community_gql.graph.edges import Shape, ToMany, ToOne, ToPage, ToValue
from community_gql.graph.finding import depends_on_values, filter_binds
from community_gql.graph.paging import Cursors, Window
from community_gql.graph.terms import SqlSelect

Values = tuple[tuple[str, Any], ...]
"""Filter members or arguments that were given, hashable: ``(("search", "moss"), ...)``."""
Row = Sequence[Any]
"""A row of the database: the key of the parent, then what was selected."""


class PlanWeight(NamedTuple):
    """What of a plan decides the cost."""

    rows: int = 1
    """How many rows it asks for at most."""
    searches: bool = False
    """Whether it looks through texts."""
    everything: bool = False
    """Whether its list hangs on nothing."""
    characters: int = 0
    """How long a text it asks for at most."""


_LIGHT = PlanWeight()


class _Simple:
    """A plan whose arguments decide nothing."""

    __slots__ = ()

    form: Hashable = None
    weight = _LIGHT
    custom_plan = False

    def values(self) -> Mapping[str, object]:
        """Nothing to bind."""
        return {}


@dataclass(frozen=True)
class Lookup:
    """Rows of a shape by the value of one unique column. A key without a visible row is None."""

    shape: Shape
    by: str

    def statement(self, near_rows: int) -> SqlSelect:
        """Finds the rows of many keys."""
        return statements.lookup_rows(self.shape, self.by)

    def values(self) -> Mapping[str, object]:
        """Nothing to bind but the keys."""
        return {}

    def collect(self, rows: Iterable[Row], keys: Sequence[object]) -> list[Any]:
        """A row or None for each key."""
        found = {row[0]: self.shape.row._make(row[1:]) for row in rows}
        return [found.get(key) for key in keys]


@dataclass(frozen=True)
class LookupPlan:
    """One row by a key. Without a lookup there is nothing to find: the id names no such type."""

    lookup: Lookup | None
    key: object = None

    custom_plan = False
    weight = _LIGHT

    @property
    def form(self) -> Lookup | None:
        """Which type is looked up."""
        return self.lookup

    def values(self) -> Mapping[str, object]:
        """The key."""
        return {"key": self.key}


NOWHERE = LookupPlan(None)


@dataclass(frozen=True)
class LookupsPlan:
    """Several rows of any types, in an order."""

    items: tuple[LookupPlan, ...]

    custom_plan = False

    @property
    def form(self) -> frozenset[Lookup]:
        """Which types are looked up."""
        return frozenset(item.lookup for item in self.items if item.lookup is not None)

    @property
    def weight(self) -> PlanWeight:
        """As many rows as there are keys."""
        return PlanWeight(len(self.items))

    def values(self) -> Mapping[str, object]:
        """The keys and their places in the list per type, and the places of what is nowhere."""
        values: dict[str, list[object]] = {"places": []}
        for place, item in enumerate(self.items):
            if item.lookup is None:
                values["places"].append(place)
            else:
                name = item.lookup.shape.name
                values.setdefault(f"keys_{name}", []).append(item.key)
                values.setdefault(f"places_{name}", []).append(place)
        return values


@dataclass(frozen=True)
class ViewerPlan(_Simple):
    """The viewer's own row, by the bind that holds the viewer."""

    lookup: Lookup


@dataclass(frozen=True)
class ResultPlan(_Simple):
    """The row that a mutation made or changed, by the key in its outcome."""

    lookup: Lookup


@dataclass(frozen=True)
class RowsPlan(_Simple):
    """The rows that a ToOne or ToMany edge leads to, per parent key."""

    edge: ToOne | ToMany

    def statement(self, near_rows: int) -> SqlSelect:
        """Finds the rows of many parents."""
        return statements.edge_rows(self.edge)

    def collect(self, rows: Iterable[Row], keys: Sequence[object]) -> list[Any]:
        """A row or None for each key, or a list of rows."""
        found: dict[Any, list[Any]] = {key: [] for key in keys}
        make = self.edge.target.row._make
        for row in rows:
            found[row[0]].append(make(row[1:]))
        if isinstance(self.edge, ToMany):
            return [found[key] for key in keys]
        return [found[key][0] if found[key] else None for key in keys]


@dataclass(frozen=True)
class ValuePlan:
    """A computed value per parent key."""

    edge: ToValue
    arguments: Values

    custom_plan = False
    form = None

    @property
    def weight(self) -> PlanWeight:
        """The length that it is given."""
        return PlanWeight(characters=dict(self.arguments).get("length", 0))

    def statement(self, near_rows: int) -> SqlSelect:
        """Computes the values of many parents."""
        return statements.values_of(self.edge)

    def values(self) -> Mapping[str, object]:
        """The arguments."""
        return _bound(self.arguments)

    def collect(self, rows: Iterable[Row], keys: Sequence[object]) -> list[Any]:
        """A value or None for each key."""
        found = {row[0]: row[1] for row in rows}
        return [found.get(key) for key in keys]


@dataclass(frozen=True)
class Counts:
    """How many visible rows a list has after its filter, per parent key, up to MAX_COUNT + 1."""

    edge: ToPage
    filters: Values

    def statement(self, near_rows: int) -> SqlSelect:
        """Counts the lists of many parents."""
        return statements.counts(self.edge, _names(self.filters))

    def values(self) -> Mapping[str, object]:
        """The filter's."""
        return _bound(self.filters)

    def collect(self, rows: Iterable[Row], keys: Sequence[object]) -> list[int]:
        """A number for each key."""
        found = {row[0]: row[1] for row in rows}
        return [found.get(key, 0) for key in keys]


class PageForm(NamedTuple):
    """What decides the text of a page's statement.

    The size is written into it. With a bind for it PostgreSQL takes a tenth of the table for the
    page, finds every plan for all values too dear, and plans each execution anew: measured at four
    times the cost of a page.
    """

    order: str
    backward: bool
    has_cursor: bool
    filters: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class PagePlan:
    """One page of a list per parent key."""

    edge: ToPage
    window: Window
    order: str
    filters: Values
    cursors: Cursors
    cursor: tuple[Any, ...] | None

    @classmethod
    def of(cls, edge: ToPage, window: Window, order: str | None, filters: Values) -> PagePlan:
        """The page that a connection's arguments ask for.

        Raises BadRequest for a cursor of another list and for an order that lacks its filter.
        """
        name = order or edge.default_order
        needs = edge.orders[name].needs
        if needs and needs not in _names(filters):
            raise BadRequest(f"Order {name} needs filter.{needs}.")
        cursors = _cursors(edge, name)
        if filters:
            cursors = cursors.bound(edge.coordinate, name, filters)
        values = cursors.read(window.cursor) if window.cursor is not None else None
        return cls(edge, window, name, filters, cursors, values)

    @property
    def form(self) -> PageForm:
        """What decides the text of the statement."""
        window, names = self.window, _names(self.filters) if self.filters else ()
        return PageForm(self.order, window.backward, self.cursor is not None, names, window.size)

    @property
    def weight(self) -> PlanWeight:
        """The size of the page, and what finding its rows takes."""
        searches = bool(self.filters) and "search" in _names(self.filters)
        return PlanWeight(self.window.size, searches, self.edge.parent is None)

    @property
    def custom_plan(self) -> bool:
        """Whether PostgreSQL should plan the statement for its values each time.

        One plan for all values is a third of the cost of most pages.
        """
        return depends_on_values(self.edge, _names(self.filters), self.edge.orders[self.order])

    def statement(self, near_rows: int) -> SqlSelect:
        """Finds the pages of many parents; for ``near_rows`` see ``page_of``."""
        return statements.pages(self.edge, *self.form, near_rows)

    def values(self) -> Mapping[str, object]:
        """The filter's, the cursor's, and the digest that the page's own cursors begin with."""
        values = _bound(self.filters) if self.filters else {}
        for i, value in enumerate(self.cursor or ()):
            values[f"cursor_{i}"] = value
        values["digest"] = self.cursors.digest
        return values

    def collect(self, rows: Iterable[Row], keys: Sequence[object]) -> list[Any]:
        """The rows of each key's page, each with the keys of its order."""
        found: dict[Any, list[tuple[Any, Row]]] = {key: [] for key in keys}
        make, end = self.edge.target.row._make, 1 + self.edge.target.width
        for row in rows:
            found[row[0]].append((make(row[1:end]), row[end:]))
        return [found[key] for key in keys]


@dataclass(frozen=True)
class MomentPlan(_Simple):
    """The moment that the answer shows."""

    def statement(self, near_rows: int) -> SqlSelect:
        """Reads it."""
        return statements.moment()

    def collect(self, rows: Iterable[Row], keys: Sequence[object]) -> list[str]:
        """The same text for each key."""
        ((_, moment),) = rows
        return [moment] * len(keys)


@dataclass(frozen=True)
class ChangesPlan:
    """What becomes of the rows of a root list with a filter."""

    edge: ToPage
    filters: Values
    after: Moment | None
    """Up to where whoever asks was told; None for from now on."""
    digest: str
    """What the cursors of the list in its default order begin with."""

    form = None
    weight = _LIGHT
    custom_plan = False

    @property
    def names(self) -> tuple[str, ...]:
        """The members of the filter that were given."""
        return _names(self.filters)

    def values(self) -> Mapping[str, object]:
        """The filter's."""
        return _bound(self.filters)


Plan = (
    PagePlan
    | RowsPlan
    | ValuePlan
    | LookupPlan
    | LookupsPlan
    | ViewerPlan
    | ResultPlan
    | MomentPlan
    | ChangesPlan
)
Batch = Lookup | RowsPlan | ValuePlan | Counts | PagePlan | MomentPlan


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of an operation, by where its fields begin in the text.

    ``fixed`` are of fields whose arguments the document spells out, ``varying`` of those whose
    arguments hold variables.
    """

    fixed: Mapping[int, Plan] = field(default_factory=dict)
    varying: Mapping[int, Plan] = field(default_factory=dict)

    def of(self, node: Any) -> Plan | None:
        """The plan of the field with this node; None for one that loads nothing."""
        return self.at(node.loc.start)

    def at(self, start: int) -> Plan | None:
        """The plan of the field that begins there."""
        return self.varying.get(start) or self.fixed.get(start)

    @property
    def tells_moment(self) -> bool:
        """Whether it tells the moment, which only the primary knows exactly."""
        return any(isinstance(plan, MomentPlan) for plan in self.fixed.values())

    @property
    def form(self) -> tuple[Hashable, ...]:
        """What of the variables' values decides the text of a statement."""
        return tuple([plan.form for plan in self.varying.values()])

    @property
    def weight(self) -> tuple[PlanWeight, ...]:
        """What of the variables' values decides the cost."""
        return tuple([plan.weight for plan in self.varying.values()])

    @property
    def custom_plan(self) -> bool:
        """Whether PostgreSQL should plan some of it for its values."""
        plans = (*self.fixed.values(), *self.varying.values())
        return any(plan.custom_plan for plan in plans)

    @property
    def searches(self) -> bool:
        """Whether some of it looks through texts."""
        plans = (*self.fixed.values(), *self.varying.values())
        return any(plan.weight.searches for plan in plans)


def first_page_cursors(edge: ToPage) -> tuple[tuple[str, ...], Cursors]:
    """For a list in its default order without a filter: the key columns by name, and its cursors.

    Works for orders over plain columns of the row.
    """
    name = edge.default_order
    keys = edge.orders[name].keys(edge.target.model, {})
    return tuple(str(getattr(key, "key", "")) for key in keys), _cursors(edge, name)


@lru_cache(maxsize=256)
def _cursors(edge: ToPage, name: str) -> Cursors:
    """The cursors of a list in one order, without a filter."""
    keys = edge.orders[name].keys(edge.target.model, filter_binds(edge, edge.filters))
    return Cursors.of(keys, edge.coordinate, name, ())


def _names(values: Values) -> tuple[str, ...]:
    return tuple([name for name, _ in values])


def _bound(values: Values) -> dict[str, object]:
    # asyncpg takes arrays as lists; what is hashable in a plan is a tuple.
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values}
