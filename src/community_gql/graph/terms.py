"""Names for what SQLAlchemy gives no narrower type.

Our declarations speak of any model, so the type of a column is not known where it is read. What
only passes through is ``object`` elsewhere, never ``Any``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select
from sqlalchemy.types import TypeEngine

Sql = ColumnElement[Any]
"""An SQL expression, whatever the type of its value."""
SqlType = TypeEngine[Any]
"""The type of a value in SQL."""
SqlSelect = Select[Any]
"""A SELECT, whatever its columns."""
Entity = Any
"""A mapped class or an alias of one: its attributes are those of a model that we do not know."""
FromItem = Any
"""What a SELECT reads from, with columns (``c``) that depend on it."""
