"""What the documents promise: decisions have one format, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

CHECKOUT = Path(__file__).parents[1]
DECISIONS = sorted((CHECKOUT / "docs" / "decisions").glob("[0-9]*.md"))
PAGES = [
    *CHECKOUT.glob("*.md"),
    *(CHECKOUT / "docs").rglob("*.md"),
    *(CHECKOUT / folder / "README.md" for folder in ("benchmarks", "examples")),
]
PACKAGE = CHECKOUT / "src" / "community_gql"
ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
MAPPED = ("db", "graph", "http", "operations")


def title(page: Path) -> str:
    return page.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")


def name(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_the_format(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    number = int(page.name[:4])

    head = rf"# {number}\. \S.*\n\nDate: \d{{4}}-\d\d-\d\d\n\n"
    other = r"(Replace(s|d by) \[\d+\]\(\S+\)\.\n\n)?"  # an earlier or a later decision
    assert re.match(head + other + "## Context\n", text)
    sections = re.findall(r"^## (.*)$", text, re.M)
    needed = [section for section in sections if section in ("Context", "Decision", "Consequences")]
    assert needed == ["Context", "Decision", "Consequences"]


def test_the_index_lists_every_decision() -> None:
    index = (CHECKOUT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[(.*?)\]\((\d\S*)\): \S", index, re.M)

    assert sorted(listed, key=lambda entry: entry[1]) == [
        (title(page), page.name) for page in DECISIONS
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", without_code(page)):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def slug(heading: str) -> str:
    """What a heading is called in an address, as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_to_headings_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", without_code(page)):
        path = page.parent / target if target else page
        if "://" not in target and path.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", without_code(path), re.M)
            assert anchor in map(slug, headings), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_block_of_graphql_can_be_run_as_it_is(page: Path) -> None:
    """Parsed and validated, so that whoever pastes a whole block gets an answer."""
    schema = build_schema((CHECKOUT / "schema.graphql").read_text(encoding="utf-8"))
    blocks = re.findall(r"^```graphql\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    assert [validate(schema, parse(block)) for block in blocks] == [[] for _ in blocks]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_ids_in_examples_have_the_form_of_today(page: Path) -> None:
    blocks = re.findall(r"^```(?:json|graphql)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    shown = re.findall(r'\bid"?: "([^"]+)"', "".join(blocks))
    assert [id_ for id_ in shown if not re.fullmatch(r"[A-Z][A-Za-z]+_[\w-]+", id_)] == []


def test_the_readme_says_about_how_many_packages_are_installed() -> None:
    lock = (CHECKOUT / "requirements-run.lock").read_text(encoding="utf-8")
    packages = set(re.findall(r"^([a-z0-9-]+)==", lock, re.M))
    said = re.search(r"about (\d+) Python packages", (CHECKOUT / "README.md").read_text("utf-8"))
    assert said is not None
    assert abs(len(packages) - int(said[1])) < 10


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_modules_that_are_named_exist(page: Path) -> None:
    """``graph/visibility.py`` in a document is a file of the package."""
    for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)", page.read_text(encoding="utf-8")):
        if path.split("/", 1)[0] in ROOMS:
            assert (PACKAGE / path).exists(), path


def test_modules_that_docstrings_name_exist() -> None:
    for source in PACKAGE.rglob("*.py"):
        for path in re.findall(r"``((?:[a-z_]+/)+[a-z_]+\.py)``", source.read_text("utf-8")):
            assert (PACKAGE / path).exists() or (CHECKOUT / path).exists(), f"{source}: {path}"


def test_packages_name_modules_of_their_own() -> None:
    """``http/__init__.py`` says how its modules work together."""
    for room in MAPPED:
        modules = re.findall(r"``([a-z_]+)``", (PACKAGE / room / "__init__.py").read_text("utf-8"))
        assert modules
        for module in modules:
            assert (PACKAGE / room / f"{module}.py").exists(), f"{room}: {module}"


def test_nothing_cites_what_is_not_in_the_repository() -> None:
    sources = [
        path
        for folder in ("src", "tests", "migrations", "benchmarks", "docs")
        for path in (CHECKOUT / folder).rglob("*")
        if path.suffix in (".py", ".md") and "node_modules" not in path.parts
    ]
    pattern = re.compile(r"\bdesign" + r"/[a-z]+\.md")
    assert [name(path) for path in sources if pattern.search(path.read_text("utf-8"))] == []
