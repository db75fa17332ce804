"""The recipes of CONTRIBUTING.md fit the code as it is; `make test-recipes` follows them."""

from __future__ import annotations

import ast

import pytest

from tests.recipes import CHECKOUT, MOST_FILES, PAGE, RecipeError, Step, placed, recipes

RECIPES = list(recipes(PAGE.read_text(encoding="utf-8")))


def test_every_step_has_its_place() -> None:
    files: dict[str, str] = {}
    for _, steps in RECIPES:
        for step in steps:
            if name := step.words.get("file"):
                source = files.get(name) or (CHECKOUT / name).read_text(encoding="utf-8")
                files[name] = placed(source, step)
                if name.endswith(".py"):
                    ast.parse(files[name])
    assert len(files) > 10
    assert MOST_FILES.keys() <= dict(RECIPES).keys()


def test_a_step_goes_where_it_says() -> None:
    source = "class Other:\n    a: int\n\n\nclass This:\n    a: int\n    b: int\n"
    within = Step("", 1, {"file": "f", "into": "This", "before": "b"}, "    c: int\n")
    assert placed(source, within) == source.replace("    b: int", "    c: int\n    b: int")
    instead = Step("", 1, {"file": "f", "into": "This", "from": "a", "before": "b"}, "    c: int\n")
    assert placed(source, instead).endswith("class This:\n    c: int\n    b: int\n")
    at_the_end = Step("", 1, {"file": "f"}, "class New:\n    pass\n")
    assert placed(source, at_the_end) == f"{source}\n\nclass New:\n    pass\n"
    for words in ({"into": "Nothing", "before": "b"}, {"before": "nothing"}):
        with pytest.raises(RecipeError, match="line 1: no"):
            placed(source, Step("", 1, {"file": "f", **words}, ""))
