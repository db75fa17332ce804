"""The picture of the tables."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlalchemy import BigInteger, Column, ForeignKey, MetaData, String, Table

from community_gql.db.models import Base
from community_gql.dev import erd

CHECKOUT = Path(__file__).parents[2]


def test_the_file_is_what_the_models_say(tmp_path: Path) -> None:
    assert erd.check(CHECKOUT)
    (tmp_path / "docs").mkdir()
    with pytest.raises(erd.PictureError, match="make erd"):
        erd.check(tmp_path)
    erd.write(tmp_path)
    assert erd.check(tmp_path)


def test_everything_is_in_it() -> None:
    root = ElementTree.fromstring(erd.svg())
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    lines = [element for element in root.iter() if element.get("class") == "line"]
    keys = 0
    for table in Base.metadata.tables.values():
        assert table.name in texts
        for column in table.columns:
            assert column.name in texts
            keys += len(column.foreign_keys)
    for mapper in Base.registry.mappers:
        for relation in mapper.relationships:
            assert f"→ {relation.key}" in texts
    assert len(lines) == keys > 10


def test_a_changed_column_makes_another_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    before = erd.svg()
    column = Base.metadata.tables["gardens"].columns["theme"]
    assert column.nullable
    monkeypatch.setattr(column, "nullable", False)
    assert erd.svg() != before


def test_a_new_table_finds_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = MetaData()
    for table in Base.metadata.tables.values():
        table.to_metadata(metadata)
    badge = Column("user_id", BigInteger, ForeignKey("users.public_id"), primary_key=True)
    Table("of_this_test", metadata, badge)
    monkeypatch.setattr(Base, "metadata", metadata)
    assert ">of_this_test</text>" in erd.svg()

    profile = Column("profile", String, ForeignKey("user_profiles.user_id"))
    tag = Column("tag", BigInteger, ForeignKey("tag_renames.tag_id"), primary_key=True)
    Table("far_from_all", metadata, profile, tag)
    assert ">far_from_all</text>" in erd.svg()
    metadata.tables["far_from_all"].append_column(
        Column("badge", ForeignKey("of_this_test.user_id"))
    )
    assert erd.svg().count(">far_from_all</text>") == 1


def test_places_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erd, "COLUMNS", (*erd.COLUMNS, ("gone",)))
    with pytest.raises(erd.PictureError, match=r"has what .* has not: gone"):
        erd.svg()
