"""The schema, and its text."""

from __future__ import annotations

from functools import cache

import strawberry
from graphql import GraphQLObjectType, GraphQLSchema, lexicographic_sort_schema, print_schema

from community_gql.schema.kinds import EdgeField, declared
from community_gql.schema.mutation import Mutation
from community_gql.schema.payloads import MutationField
from community_gql.schema.query import Query
from community_gql.schema.scalars import CONFIG
from community_gql.schema.subscription import Subscription
from community_gql.schema.types import NODES

schema = strawberry.Schema(
    query=Query, mutation=Mutation, subscription=Subscription, types=NODES, config=CONFIG
)

core: GraphQLSchema = schema._schema
"""The graphql-core schema behind it: what documents are validated against and executed on."""


for _type in core.type_map.values():
    if isinstance(_type, GraphQLObjectType):
        for _field in _type.fields.values():
            _declared = declared(_field)
            if isinstance(_declared, EdgeField | MutationField):
                _field.resolve = _declared.answer


@cache
def sdl() -> str:
    """The schema in SDL, sorted: the text of ``schema.graphql``."""
    return print_schema(lexicographic_sort_schema(core)) + "\n"
