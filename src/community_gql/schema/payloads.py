"""How a mutation is declared: its input, its action and its payload.

``mutation(CreateGardenInput, gardens.create, ...)`` makes a field that refuses the anonymous
viewer, hands the input's members to the action by name (global ids as keys, None for one that
names nothing; without the fields that a patch leaves out), commits, and wraps the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import strawberry
from strawberry import UNSET
from strawberry.types import Info
from strawberry.types.base import StrawberryMaybe
from strawberry.types.field import StrawberryField

from community_gql.errors import Code, Rejected, Unauthenticated
from community_gql.errors import UserError as Problem
from community_gql.schema.context import Context
from community_gql.schema.fields import argument, derived, described_type
from community_gql.schema.ids import read_id, write_id
from community_gql.schema.query import ROOT, SHAPES, Query
from community_gql.telemetry import tracing

Action = Callable[..., Awaitable[Any]]


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
        self.action = action
        _check_members(input_type, action)

    @property
    def is_basic_field(self) -> bool:
        """False: the resolver needs the operation's context."""
        return False

    async def get_result(
        self, source: Any, info: Info | None, args: list[Any], kwargs: Any
    ) -> Outcome:
        """The outcome. Raises Unauthenticated for the anonymous viewer."""
        assert info is not None
        context: Context = info.context
        viewer = context.viewer
        if viewer.sub is None:
            raise Unauthenticated("Sign in first: this changes what belongs to someone.")
        members = read_members(kwargs["input"])
        try:
            with tracing.span(f"mutation {info.field_name}"):
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


def read_members(value: Any) -> dict[str, Any]:
    """The members of an input by Python name: without those that are absent."""
    members: dict[str, Any] = {}
    for field in value.__strawberry_definition__.fields:
        member = getattr(value, field.name)
        if isinstance(field.type, StrawberryMaybe):
            if member is None:
                continue
            member = member.value
        if member is UNSET:
            continue
        members[field.name] = _read(field, member)
    return members


def _read(field: StrawberryField, member: Any) -> Any:
    node = field.metadata.get("node")
    if node is not None:
        found = read_id(member, {node: SHAPES[node]})
        return None if found is None else found[1]
    if isinstance(member, list) and member and hasattr(member[0], "__strawberry_definition__"):
        return [type(item).made(**read_members(item)) for item in member]
    return member


def _check_members(input_type: type, action: Action) -> None:
    # The two are matched by name at each request; this check finds a misspelling at import.
    fields = {field.name for field in input_type.__strawberry_definition__.fields}  # type: ignore[attr-defined]
    keywords = inspect.signature(action).parameters.values()
    taken = {item.name for item in keywords if item.kind is inspect.Parameter.KEYWORD_ONLY}
    if fields != taken:
        raise TypeError(f"{input_type.__name__} and {action.__qualname__}: {fields ^ taken}")
