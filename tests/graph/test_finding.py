"""Which statements of lists have one plan for all values."""

from __future__ import annotations

import pytest

from community_gql.graph.finding import depends_on_values
from community_gql.schema.kinds import PageField, declared
from tests.support import graph

WORD_SINCE = ("search", "created_after")


@pytest.mark.parametrize(
    ("coordinate", "names", "order", "depends"),
    [
        ("Query.tags", ("prefix",), "POPULARITY", True),
        ("Viewer.friends", ("search",), "NAME", True),
        ("Query.stories", ("created_after",), None, True),
        ("Query.stories", ("created_after",), "NEWEST", False),
        ("Query.stories", WORD_SINCE, None, False),
        ("Query.stories", WORD_SINCE, "NEWEST", False),
        ("Query.stories", WORD_SINCE, "RELEVANCE", False),
        ("Tag.stories", WORD_SINCE, None, False),
        ("Tag.stories", (), "OLDEST", False),
        ("User.stories", ("search",), None, False),
    ],
)
def test_a_plan_depends_on_values_that_two_indexes_could_find(
    coordinate: str, names: tuple[str, ...], order: str | None, depends: bool
) -> None:
    field = declared(graph.edges()[coordinate])
    assert isinstance(field, PageField)
    edge = field.source
    page_order = None if order is None else edge.orders[order]
    assert depends_on_values(edge, names, page_order) is depends
