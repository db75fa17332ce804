"""Whose statement it is: a comment that names the operation, and a span for whoever traces."""

from __future__ import annotations

import re

from community_gql.telemetry import tracing

STATEMENT = "statement"
"""What its span is called until its text is known."""
_FIRST_WORD = re.compile(r"\s*\w+")
LABEL_IN_SQL = r"/\* (op=\S+ doc=\S+) \*/"
"""Finds the label in a statement, for Python and PostgreSQL alike."""
_LABEL = re.compile(f" {LABEL_IN_SQL}")


def label(operation: str | None, document: str) -> str:
    """What names an operation in SQL: ``op=Feed doc=0f3c…``.

    A name of GraphQL holds letters, digits and underscores only; a long one is cut.
    """
    return f"op={operation[:60] if operation else '-'} doc={document}"


def labelled(text: str, label: str) -> str:
    """The statement with the label after its first word.

    PostgreSQL 18 leaves a comment before it out of ``pg_stat_statements``.
    """
    first = _FIRST_WORD.match(text)
    end = first.end() if first else 0
    return f"{text[:end]} /* {label} */{text[end:]}"


def unlabelled(text: str) -> str:
    """The statement as it was before."""
    return _LABEL.sub("", text, count=1)


def label_of(text: str) -> str | None:
    """The label that a statement has."""
    found = _LABEL.search(text, 0, 200)
    return found[1] if found else None


def describe(span: tracing.Span, text: str, label: str | None) -> None:
    """Say in a span which statement it is of; its values are binds, and not in it."""
    span.rename((text.split(None, 1) or [STATEMENT])[0].upper())
    span.set(
        {
            "db.system.name": "postgresql",
            "db.query.text": text,
            "db.query.summary": label,
        }
    )
