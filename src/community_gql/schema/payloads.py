"""How a mutation is declared: its input, its action and its payload.

``mutation(CreateGardenInput, gardens.create, ...)`` makes a field that refuses the anonymous
viewer, hands the input's members to the action by name (global ids as keys, None for one that
names nothing; without the fields that a patch leaves out), commits, and wraps the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import strawberry
from graphql import GraphQLResolveInfo
from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from community_gql.errors import Code, Rejected, Unauthenticated
from community_gql.errors import UserError as Problem
from community_gql.schema.context import Context
from community_gql.schema.fields import argument, derived, described_type
from community_gql.schema.ids import read_id, write_id
from community_gql.schema.kinds import Arguments
from community_gql.schema.query import ROOT, SHAPES, Query
from community_gql.schema.scalars import CONFIG
from community_gql.telemetry import tracing

Action = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a mutation: the action's result, or why the input was refused."""

    key: Any = None
    errors: Sequence[Problem] = ()


@described_type
class UserError:
    """A reason why an input was refused. Nothing was written when there is one."""

    code: Code = strawberry.field(description="The reason, for a program.")
    message: str = strawberry.field(description="The reason, for a person.")
    path: list[str] = strawberry.field(
        description='Where in the input: `["tags", "2"]` is its third tag. Empty: the whole.'
    )


@described_type
class Payload:
    """What every mutation answers with."""

    user_errors: list[UserError] = derived(
        lambda outcome: outcome.errors,
        "Everything that is wrong with the input; empty when the mutation succeeded.",
    )
    query: Query = derived(lambda _: ROOT, "Any other data to read, as it is after the mutation.")


class MutationField(StrawberryField):
    """A root field of Mutation: one action in one transaction."""

    def __init__(self, input_type: type, action: Action, description: str) -> None:
        super().__init__(description=description)
        self.arguments = [argument("input", input_type, "What to do.")]
        self.action, self._input_type = action, input_type
        _check_members(input_type, action)

    @property
    def is_basic_field(self) -> bool:
        """False: the resolver needs the operation's context."""
        return False

    @cached_property
    def _members(self) -> list[_Member]:
        return _members_of(self._input_type)

    def answer(
        self, _: Any, info: GraphQLResolveInfo[Context], **arguments: Any
    ) -> Awaitable[Outcome]:
        """The outcome, as graphql-core's resolver of the field; see ``outcome``.

        Strawberry's would make objects of the input first, of which nothing is needed.
        """
        return self.outcome(info.context, str(info.path.key), info.field_name, arguments)

    async def outcome(self, context: Context, key: str, name: str, arguments: Arguments) -> Outcome:
        """Run the action, once for each response key of an operation.

        ``arguments`` are what graphql-core makes of them. Raises Unauthenticated for the anonymous
        viewer, and what the action raises but Rejected.
        """
        if (earlier := context.outcomes.get(key)) is not None:
            if isinstance(earlier, Exception):
                raise earlier
            assert isinstance(earlier, Outcome)
            return earlier
        try:
            found = await self._run(context, name, arguments)
        except Exception as error:
            context.outcomes[key] = error
            raise
        context.outcomes[key] = found
        return found

    async def _run(self, context: Context, name: str, arguments: Arguments) -> Outcome:
        viewer = context.viewer
        if viewer.sub is None:
            raise Unauthenticated("Sign in first: only signed-in people can change things.")
        members = _read(self._members, arguments["input"])
        try:
            with tracing.span(f"mutation {name}"):
                return Outcome(
                    await context.write(lambda session: self.action(session, viewer, **members))
                )
        except Rejected as rejected:
            return Outcome(errors=rejected.errors)


def mutation(input_type: type, action: Action, description: str) -> Any:
    """A root field of Mutation over an action of ``actions/``."""
    return MutationField(input_type, action, description)


def deleted_id(node: type) -> Any:
    """In a payload: the global id of what the mutation deleted."""
    name = node.__name__
    return derived(
        lambda outcome: None if outcome.key is None else write_id(name, outcome.key),
        f"The global id that the deleted {name} had; null when it was refused.",
    )


class _Member(NamedTuple):
    """A member of an input: its names in GraphQL and Python, and how its value is read."""

    name: str
    python_name: str
    read: Callable[[Any], Any] | None


def _members_of(input_type: Any) -> list[_Member]:
    names = CONFIG.name_converter
    return [
        _Member(names.get_graphql_name(field), field.name, _reader(field))
        for field in input_type.__strawberry_definition__.fields
    ]


def _read(members: list[_Member], given: Mapping[str, object]) -> dict[str, object]:
    """The members of an input by Python name: without those that are absent."""
    return {
        python_name: given[name] if read is None else read(given[name])
        for name, python_name, read in members
        if name in given
    }


def _reader(field: StrawberryField) -> Callable[[Any], Any] | None:
    node = field.metadata.get("node")
    if node is not None:
        shapes = {node: SHAPES[node]}

        def key(text: str) -> Any:
            found = read_id(text, shapes)
            return None if found is None else found[1]

        return key
    if isinstance(field.type, StrawberryList):
        item: Any = field.type.of_type
        if not hasattr(item, "__strawberry_definition__"):
            return None
        inner, made = _members_of(item), item.made
        return lambda items: [made(**_read(inner, item)) for item in items]
    return None


def _check_members(input_type: type, action: Action) -> None:
    # The two are matched by name at each request; this check finds a misspelling at import.
    fields = {field.name for field in input_type.__strawberry_definition__.fields}  # type: ignore[attr-defined]
    keywords = inspect.signature(action).parameters.values()
    taken = {item.name for item in keywords if item.kind is inspect.Parameter.KEYWORD_ONLY}
    if fields != taken:
        raise TypeError(f"{input_type.__name__} and {action.__qualname__}: {fields ^ taken}")
