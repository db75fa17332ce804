from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from community_gql.dev.schema_diff import SchemaError, breaking_changes, check, coordinate

OLD = "type Query {\n  kept: Int\n  gone(x: Int): Int\n}\n"
NEW = "type Query {\n  kept: Int\n}\n"


def git(checkout: Path, *words: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *words], cwd=checkout, check=True, capture_output=True)


def commit(checkout: Path, text: str) -> None:
    (checkout / "schema.graphql").write_text(text)
    git(checkout, "add", "-A")
    git(checkout, "commit", "--quiet", "--allow-empty", "-m", "schema")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, OLD)
    return tmp_path


def test_the_file_must_be_what_the_code_says(checkout: Path) -> None:
    with pytest.raises(SchemaError, match=r"(?s)make schema.*-  gone"):
        check(checkout, NEW)
    (checkout / "schema.graphql").unlink()
    with pytest.raises(SchemaError, match=r"there is no .*schema\.graphql"):
        check(checkout, NEW)


def test_nothing_to_compare_with_is_said(checkout: Path) -> None:
    assert (
        check(checkout, OLD)[1] == "no schema.graphql in HEAD~1 to look for breaking changes since"
    )


def test_without_git_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "schema.graphql").write_text(OLD)
    assert "no schema.graphql in HEAD~1" in check(tmp_path, OLD)[1]


def test_a_breaking_change_needs_its_line_in_the_changelog(checkout: Path) -> None:
    (checkout / "schema.graphql").write_text(NEW)
    with pytest.raises(SchemaError, match=r"since HEAD .*\n  `Query.gone`: "):
        check(checkout, NEW)
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text("## 0.9\n### Breaking\n- `Query.gone` went\n")
    with pytest.raises(SchemaError):
        check(checkout, NEW)
    changelog.write_text("## Unreleased\n### Breaking\n- `Query.gone` went\n")
    assert "announced" in check(checkout, NEW)[1]


def test_a_committed_change_is_compared_with_the_commit_before(checkout: Path) -> None:
    commit(checkout, NEW)
    with pytest.raises(SchemaError, match="since HEAD~1"):
        check(checkout, NEW)
    commit(checkout, NEW)
    assert check(checkout, NEW)[1] == "no breaking change since HEAD~1"
    with pytest.raises(SchemaError, match="since HEAD~2"):
        check(checkout, NEW, against="HEAD~2")


def test_coordinates_of_every_kind_of_breaking_change() -> None:
    changes = breaking_changes(
        """
        directive @gone on FIELD
        directive @kept(gone: Int) on FIELD
        type Query { a(x: Int): Int b: Int e: E i(i: I, x: Int): Int u: U }
        enum E { A B }
        input I { a: Int }
        union U = C | D
        interface N { c: Int }
        type C implements N { c: Int }
        type D { d: Int }
        """,
        """
        directive @kept on FIELD
        type Query { a(x: String, y: Int!): Int e: E i(i: I): Int u: U }
        enum E { A }
        input I { a: Int b: Int! }
        union U = C
        type C { c: Int }
        """,
    )
    assert sorted(map(coordinate, changes)) == [
        *("@gone", "@kept(gone:)", "C", "D", "E.B", "I.b", "N"),
        *("Query.a(x:)", "Query.a(y:)", "Query.b", "Query.i(x:)", "U"),
    ]
