"""Which statements of lists have one plan for all values."""

from __future__ import annotations

import pytest

from community_gql.graph.finding import depends_on_values
from community_gql.schema.kinds import PageField, declared
from tests.support import graph

AFTER = ("search", "created_after")
BEFORE = ("tags_any", "created_before")


@pytest.mark.parametrize("order", ["NEWEST", "RELEVANCE", None])
@pytest.mark.parametrize(
    ("coordinate", "names", "depends"),
    [
        ("Query.stories", AFTER, True),
        ("Query.stories", BEFORE, False),
        ("Tag.stories", AFTER, True),
        ("Tag.stories", BEFORE, False),
        ("User.stories", ("search",), False),
    ],
)
def test_a_plan_depends_on_values_that_two_indexes_could_find(
    coordinate: str, names: tuple[str, ...], depends: bool, order: str | None
) -> None:
    field = declared(graph.edges()[coordinate])
    assert isinstance(field, PageField)
    edge = field.source
    page_order = None if order is None else edge.orders[order]
    assert depends_on_values(edge, names, page_order) is depends
