"""The picture of the tables, ``docs/erd.svg``: drawn from ``models.py``, the same each time.

Tables stand in columns (``COLUMNS``), one below the other. A foreign key is a line from its column
to the column it names, through the gutter between the two: all lines to one column join in it.
Below a table's columns are its relationships, by which ``schema/types.py`` leads on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from sqlalchemy import Column, ForeignKey, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapper

from community_gql.db.models import Base
from community_gql.settings import OperatorError

FILE = Path("docs") / "erd.svg"

COLUMNS = (
    ("user_profiles", "gardens", "habits", "friendships", "user_features", "match_choices"),
    ("users", "user_tags", "story_requests", "match_results", "match_dismissals", "stale_lists"),
    (
        "stories",
        "story_tags",
        "tags",
        "tag_renames",
        "deleted_accounts",
        "housekeeping",
        "hot_documents",
        "match_recipes",
        "stale_features",
        "changes",
    ),
)
"""Which table stands where. A new one finds a place by itself, and may be given another here."""

WIDTH, ROW, HEAD, PAD = 316, 20, 30, 12
GUTTER, GAP, MARGIN = 96, 26, 24
LANE = 14
"""How far apart lines run in a gutter. All these are pixels."""
TYPE, LEADS_TO = 160, 172
"""How far right of a table's edge the second of two texts begins."""

SHORT = {"timestamp with time zone": "timestamptz", "double precision": "float8"}

STYLE = """
  :root { color-scheme: light dark }
  .page { fill: #fbfaf7 } .box { fill: #ffffff; stroke: #c9c4b8 } .head { fill: #2f5d50 }
  .rule { stroke: #e4e0d6 } text { fill: #2b2a27; font: 11px ui-monospace, Menlo, Consolas,
  "DejaVu Sans Mono", monospace } .name { fill: #ffffff; font-weight: 700; font-size: 13px }
  .key { font-weight: 700 } .type, .mark { fill: #77736a }
  .leads { fill: #2f5d50 } .line { fill: none; stroke: #7c9a8f; stroke-width: 1.4 }
  .note { fill: #77736a }
  @media (prefers-color-scheme: dark) {
    .page { fill: #161a19 } .box { fill: #1f2524; stroke: #3c4644 } .head { fill: #2f5d50 }
    .rule { stroke: #323a38 } text { fill: #e6e4de } .type, .mark, .note { fill: #9a9d98 }
    .leads { fill: #8fc7b3 } .line { stroke: #6f9184 }
  }
"""


class PictureError(OperatorError):
    """The picture cannot be drawn, or it differs from the models."""


@dataclass(frozen=True, slots=True)
class Box:
    """A table's place, in pixels."""

    table: Table
    place: int
    """Which of COLUMNS it stands in, from 0."""
    x: int
    y: int
    columns: tuple[Column[object], ...]
    leads: tuple[tuple[str, str], ...]
    """Its relationships: their names and targets."""

    @property
    def height(self) -> int:
        lines = len(self.columns) + len(self.leads)
        return HEAD + ROW * lines + (8 if self.leads else 0) + 8

    def row(self, column: Column[object]) -> float:
        """The middle of a column's row."""
        return self.y + HEAD + 4 + ROW * (self.columns.index(column) + 0.5)


def check(checkout: Path) -> str:
    """Compare the file with the models; return a line to print. Raises PictureError."""
    path = checkout / FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != svg():
        raise PictureError(f"{FILE} is not what the models say. Draw it: make erd")
    return f"{FILE} is what the models say"


def write(checkout: Path) -> Path:
    """Draw the file again; return its path in the checkout."""
    (checkout / FILE).write_text(svg(), encoding="utf-8")
    return FILE


def svg() -> str:
    """The picture. Raises PictureError where COLUMNS and the models do not fit."""
    boxes = _boxes()
    width = 2 * MARGIN + len(COLUMNS) * WIDTH + (len(COLUMNS) - 1) * GUTTER + GUTTER // 2
    height = max(box.y + box.height for box in boxes.values()) + MARGIN + 22
    described = (
        f"{len(boxes)} tables with their columns and types; a line leads from each foreign key "
        "to the column it names."
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-labelledby="title described">',
        '<title id="title">The tables of community-gql</title>',
        f'<desc id="described">{described}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}" rx="8"/>',
        *_lines(boxes),
        *(part for box in boxes.values() for part in _table(box)),
        f'<text class="note" x="{MARGIN}" y="{height - MARGIN + 4}">PK primary key · FK foreign '
        "key · UQ unique · ? may be NULL · a line ends in &lt; at many rows, in | at one, with ○ "
        "at perhaps none · → relationship in models.py, * to many</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _boxes() -> dict[str, Box]:
    tables = Base.metadata.tables
    mappers = {mapper.local_table.key: mapper for mapper in Base.registry.mappers}  # type: ignore[attr-defined]
    boxes = {}
    for place, names in enumerate(_places(tables)):
        y = MARGIN
        for name in names:
            table = tables[name]
            leads = tuple(_leads(mappers[name])) if name in mappers else ()
            x = MARGIN + place * (WIDTH + GUTTER)
            boxes[name] = box = Box(table, place, x, y, tuple(table.columns), leads)
            y += box.height + GAP
    return boxes


def _places(tables: Mapping[str, Table]) -> list[list[str]]:
    """COLUMNS with the tables that it does not name: each in the shortest column that can have it.

    That is one beside, or with, all the tables to which its foreign keys lead.
    """
    columns = [list(names) for names in COLUMNS]
    placed = {name: place for place, names in enumerate(columns) for name in names}
    if gone := sorted(placed.keys() - tables.keys()):
        raise PictureError(f"COLUMNS of erd.py has what models.py has not: {', '.join(gone)}.")
    for name in sorted(tables.keys() - placed.keys()):
        to = {key.column.table.name for key in tables[name].foreign_keys} - {name}
        near = [
            place
            for place in range(len(columns))
            if all(abs(placed.get(other, place) - place) <= 1 for other in to)
        ]
        if not near:
            raise PictureError(
                f"{name} refers to tables that stand far apart in COLUMNS of erd.py: say there "
                "where to draw them."
            )
        chosen = min(
            near, key=lambda place: sum(len(tables[n].columns) + 2 for n in columns[place])
        )
        columns[chosen].append(name)
        placed[name] = chosen
    return columns


def _leads(mapper: Mapper[object]) -> Iterator[tuple[str, str]]:
    for relation in mapper.relationships:
        to = relation.mapper.class_.__name__
        yield relation.key, f"{to} *" if relation.uselist else to


def _table(box: Box) -> Iterator[str]:
    x, y = box.x, box.y
    right = x + WIDTH - PAD
    yield f'<rect class="box" x="{x}" y="{y}" width="{WIDTH}" height="{box.height}" rx="6"/>'
    yield (
        f'<path class="head" d="M{x} {y + HEAD}v{6 - HEAD}a6 6 0 0 1 6-6h{WIDTH - 12}'
        f'a6 6 0 0 1 6 6v{HEAD - 6}z"/>'
    )
    yield f'<text class="name" x="{x + PAD}" y="{y + 20}">{box.table.name}</text>'
    for column in box.columns:
        middle = box.row(column) + 4
        style = ' class="key"' if column.primary_key else ""
        yield f'<text{style} x="{x + PAD}" y="{middle:g}">{column.name}</text>'
        marks = " ".join(_marks(column))
        yield (
            f'<text class="type" x="{x + TYPE}" y="{middle:g}">{escape(_type(column))}</text>'
            f'<text class="mark" x="{right}" y="{middle:g}" text-anchor="end">{marks}</text>'
        )
    if not box.leads:
        return
    top = y + HEAD + 8 + ROW * len(box.columns)
    yield f'<path class="rule" d="M{x} {top}h{WIDTH}"/>'
    for number, (name, to) in enumerate(box.leads):
        middle = top + 4 + ROW * (number + 0.5) + 4
        yield f'<text class="leads" x="{x + PAD}" y="{middle:g}">→ {name}</text>'
        yield f'<text class="type" x="{x + LEADS_TO}" y="{middle:g}">{to}</text>'


def _type(column: Column[object]) -> str:
    name = column.type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
    return SHORT.get(name, name)


def _marks(column: Column[object]) -> Iterator[str]:
    if column.primary_key:
        yield "PK"
    if column.foreign_keys:
        yield "FK"
    if _is_unique(column) and not column.primary_key:
        yield "UQ"
    if column.nullable:
        yield "?"


def _is_unique(column: Column[object]) -> bool:
    """Whether the column is unique: then a value is in at most one row."""
    sets = [
        set(rule.columns) for rule in column.table.constraints if isinstance(rule, UniqueConstraint)
    ]
    sets.append(set(column.table.primary_key.columns))
    return bool(column.unique) or {column} in sets


def _keys(boxes: dict[str, Box]) -> Iterator[tuple[Box, Box, ForeignKey]]:
    for box in boxes.values():
        for column in box.columns:
            for key in sorted(column.foreign_keys, key=lambda key: str(key.target_fullname)):
                yield box, boxes[key.column.table.name], key


def _lines(boxes: dict[str, Box]) -> Iterator[str]:
    """A path for each foreign key; those to one column share a lane in each gutter."""
    lanes: dict[tuple[int, str], int] = {}
    used: dict[int, int] = {}
    for box, to, key in _keys(boxes):
        # The gutter right of the place that stands further left; within one place, its right one.
        gutter = min(box.place, to.place)
        if abs(box.place - to.place) > 1:
            raise PictureError(
                f"{box.table.name} must stand beside {to.table.name} in COLUMNS of erd.py."
            )
        lane = (gutter, str(key.column))
        if lane not in lanes:
            lanes[lane] = used[gutter] = used.get(gutter, 0) + 1
        edge = MARGIN + gutter * (WIDTH + GUTTER) + WIDTH
        middle = edge + 20 + LANE * lanes[lane]
        column = key.parent
        start = box.x if box.place > gutter else box.x + WIDTH
        end = to.x if to.place > gutter else to.x + WIDTH
        yield _line(start, box.row(column), middle, end, to.row(key.column), column)


def _line(
    start: int, y: float, middle: int, end: int, target: float, column: Column[object]
) -> str:
    out = 1 if middle > start else -1
    back = 1 if middle > end else -1
    path = f"M{start} {y:g}H{middle}V{target:g}H{end}"
    one = f"M{end + back * 7} {target - 5:g}v10"
    if column.nullable:
        across = back * 8
        one += f"M{end + back * 10} {target:g}a4 4 0 1 0 {across} 0a4 4 0 1 0 {-across} 0"
    if _is_unique(column):
        many = f"M{start + out * 7} {y - 5:g}v10"
    else:
        many = f"M{start} {y - 5:g}L{start + out * 10} {y:g}L{start} {y + 5:g}"
    return f'<path class="line" d="{path}{one}{many}"/>'
