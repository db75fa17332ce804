"""Running a query breadth first: all objects of a level at once, and the next level after it.

What an object holds already is copied into plain dictionaries field by field, in loops over all
objects that are asked for the same. Each edge is one batch of the loaders for all of them, without
a future for any. What is selected is found once for a level, where graphql-core's executor looks at
each field of each object.

It knows only how a query goes well. Where a value does not fit the schema it gives up, and
graphql-core's executor runs the operation from the start: so errors have one source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from inspect import iscoroutinefunction
from itertools import islice
from operator import attrgetter
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLObjectType,
    GraphQLOutputType,
    SelectionSetNode,
    Undefined,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from strawberry.types.field import StrawberryField

from community_gql.graph.loaders import Count
from community_gql.graph.paging import COUNTS
from community_gql.graph.plans import Batch, LookupsPlan
from community_gql.operations.selections import Selected, Selections
from community_gql.operations.throttle import in_pieces, rest
from community_gql.schema.context import Context
from community_gql.schema.executable import core
from community_gql.schema.kinds import ColumnField, DerivedField, EdgeField, declared

Read = Callable[[Any], Any]
Put = Callable[[list[object]], None]
Json = dict[str, object]

_AS_THEY_ARE: Mapping[str, type] = {"String": str, "ID": str, "Boolean": bool}
"""Scalars whose values are written as they are, if they are of this type."""


class GivenUp(Exception):
    """graphql-core's executor must run the operation: it knows the field, or what is wrong."""


async def run(selections: Selections, context: Context, type_: Any, given: Any, *sets: Any) -> Json:
    """The object of ``type_`` that these selection sets ask of ``given``.

    Raises GivenUp, and whatever a statement raises.
    """
    breadth = _Breadth(selections, context)
    (found,) = breadth.objects(type_, sets, [given])
    await breadth.load()
    return found


@dataclass(slots=True)
class _Load:
    """What a field of all objects of a level waits for."""

    parts: Sequence[tuple[Batch, list[object]]]
    """Batches, and the keys in them; None is not to be found."""
    put: Put
    """Takes what was found for each of the keys."""


class _Breadth:
    def __init__(self, selections: Selections, context: Context) -> None:
        self._selections, self._context = selections, context
        self._loads: list[_Load] = []
        self._found: dict[Batch, dict[object, object]] = {}

    async def load(self) -> None:
        """Go on level by level, until nothing waits."""
        while self._loads:
            loads, self._loads = self._loads, []
            wanted: dict[Batch, dict[object, None]] = {}
            for load in loads:
                for batch, keys in load.parts:
                    wanted.setdefault(batch, {}).update(dict.fromkeys(keys))
            for batch, asked in wanted.items():
                await self._fetch(batch, asked)
            await in_pieces(partial(self._fill, loads))

    def _fill(self, loads: Sequence[_Load]) -> None:
        """Put what was found where it is waited for."""
        for load in loads:
            load.put([
                value
                for batch, keys in load.parts
                for value in map(self._found[batch].__getitem__, keys)
            ])  # fmt: skip

    async def _fetch(self, batch: Batch, asked: Iterable[object]) -> None:
        known = self._found.setdefault(batch, {None: None})
        if keys := [key for key in asked if key not in known]:
            found = await self._context.loaders.load_all(batch, keys)
            known.update(zip(keys, found, strict=True))

    # Objects

    def objects(
        self, type_: GraphQLObjectType, sets: Sequence[SelectionSetNode], sources: list[Any]
    ) -> list[Json]:
        """An object for each source. What is to be loaded comes into them later."""
        if not sources:
            return []
        fields = self._selections.of(type_, sets)
        blank = dict.fromkeys(selected.key for selected in fields)
        objects = [blank.copy() for _ in sources]
        for selected in fields:
            self._field(type_, selected, sources, objects)
        return objects

    def _field(
        self, type_: GraphQLObjectType, selected: Selected, sources: list[Any], objects: list[Json]
    ) -> None:
        def put(values: list[object]) -> None:
            rest()
            self._put(selected, values, objects)

        field = selected.declared
        if isinstance(field, EdgeField):
            self._ask(field, selected, sources, put)
        elif isinstance(field, DerivedField) and field.derive in COUNTS:
            self._ask_count(COUNTS[field.derive], sources, put)
        elif selected.name == "__typename":
            put([type_.name] * len(sources))
        else:
            put(list(map(_reader(type_.name, selected.name), sources)))

    def _put(self, selected: Selected, values: list[object], objects: list[Json]) -> None:
        key = selected.key
        written = self._written(selected.definition.type, selected, values)
        for object_, value in zip(objects, written, strict=True):
            object_[key] = value

    # What is loaded

    def _ask(self, field: EdgeField[Any], selected: Selected, sources: list[Any], put: Put) -> None:
        context = self._context
        plan: Any = context.plans.of(selected.node)
        if isinstance(plan, LookupsPlan):
            self._ask_lookups(plan, put)
            return
        if type(field).resolve is not EdgeField.resolve:
            raise GivenUp(f"{field.coordinate} is loaded in a way of its own")
        batch = field.batch(plan)
        if batch is None:
            put([None] * len(sources))
            return
        keys = [field.key(plan, source, context) for source in sources]

        def made(found: list[object]) -> None:
            put(field.values(plan, keys, found, context))

        self._loads.append(_Load([(batch, keys)], made))

    def _ask_lookups(self, plan: LookupsPlan, put: Put) -> None:
        parts = [(item.lookup, [item.key]) for item in plan.items if item.lookup is not None]

        def made(found: list[object]) -> None:
            rows = iter(found)
            put([[None if item.lookup is None else next(rows) for item in plan.items]])

        self._loads.append(_Load(parts, made))

    def _ask_count(self, shown: Read, pages: list[Any], put: Put) -> None:
        counts: list[Count] = [page.count for page in pages]

        def made(found: list[object]) -> None:
            put(list(map(shown, found)))

        # They are pages of one field: one batch counts them all.
        self._loads.append(_Load([(counts[0].batch, [count.key for count in counts])], made))

    # Values

    def _written(
        self, type_: GraphQLOutputType, selected: Selected, values: list[object]
    ) -> Iterable[object]:
        """The values as the answer has them."""
        if is_non_null_type(type_):
            if None in values:
                raise GivenUp(f"null for {selected.name}")
            return self._written(type_.of_type, selected, values)
        if is_leaf_type(type_):
            return _leaves(type_, values)
        there = [value for value in values if value is not None]
        if is_list_type(type_):
            lists = [value for value in there if isinstance(value, list | tuple)]
            if len(lists) < len(there):
                raise GivenUp(f"no list for {selected.name}")
            items = iter(
                self._written(type_.of_type, selected, [item for each in lists for item in each])
            )
            made = iter([list(islice(items, len(each))) for each in lists])
            return [None if value is None else next(made) for value in values]
        written = self._composites(type_, selected, there)
        if len(there) == len(values):
            return written
        rest = iter(written)
        return [None if value is None else next(rest) for value in values]

    def _composites(self, type_: Any, selected: Selected, sources: list[Any]) -> list[Json]:
        if not is_abstract_type(type_):
            return self.objects(type_, selected.sets, sources)
        by_type: dict[str, list[Any]] = {}
        for row in sources:
            by_type.setdefault(row.shape.name, []).append(row)
        written = {
            name: iter(self.objects(_object_type(name), selected.sets, rows))
            for name, rows in by_type.items()
        }
        return [next(written[row.shape.name]) for row in sources]


def _object_type(name: str) -> GraphQLObjectType:
    type_ = core.get_type(name)
    assert isinstance(type_, GraphQLObjectType)
    return type_


@cache
def _reader(type_name: str, field_name: str) -> Read:
    """What reads the value of a field that is not loaded. Raises GivenUp for other fields."""
    definition = core.get_field(_object_type(type_name), field_name)
    field = None if definition is None else declared(definition)
    if isinstance(field, ColumnField):
        return attrgetter(field.attribute or field.python_name)
    if isinstance(field, DerivedField) and not iscoroutinefunction(field.derive):
        assert field.derive is not None
        return field.derive
    if type(field) is StrawberryField and field.base_resolver is None:
        return attrgetter(field.python_name)
    raise GivenUp(f"{type_name}.{field_name} is declared in a way of its own")


def _leaves(type_: Any, values: list[object]) -> list[Any]:
    write = type_.coerce_output_value
    plain = _AS_THEY_ARE.get(type_.name)
    if plain is not None:
        return [v if type(v) is plain or v is None else _checked(write(v)) for v in values]
    if isinstance(type_, GraphQLEnumType):
        names = {value: _checked(write(value)) for value in set(values) if value is not None}
        return [None if value is None else names[value] for value in values]
    return [None if value is None else _checked(write(value)) for value in values]


def _checked(value: object) -> object:
    if value is None or value is Undefined:
        raise GivenUp("a value that is not written")
    return value
