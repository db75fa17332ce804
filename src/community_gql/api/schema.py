"""The schema, and its text."""

from __future__ import annotations

from functools import cache

import strawberry
from graphql import GraphQLSchema, lexicographic_sort_schema, print_schema

from community_gql.api.mutation import Mutation
from community_gql.api.query import Query
from community_gql.api.scalars import CONFIG
from community_gql.api.types import NODES

schema = strawberry.Schema(query=Query, mutation=Mutation, types=NODES, config=CONFIG)

core: GraphQLSchema = schema._schema
"""The graphql-core schema behind it: what documents are validated against and executed on."""


@cache
def sdl() -> str:
    """The schema in SDL, sorted: the text of ``schema.graphql``."""
    return print_schema(lexicographic_sort_schema(core)) + "\n"
