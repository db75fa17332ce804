"""What failed beside other tests is run once more, alone, and named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.again import MOST, run_again

pytestmark = pytest.mark.system

TESTS = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range({number}))
def test_at_the_second_time(number):
    seen = Path(f"seen-{{number}}")
    if not seen.exists():
        seen.touch()
        raise AssertionError("the first time")

def test_never():
    assert not {broken}

def test_always():
    pass
"""


@pytest.mark.parametrize(
    ("number", "broken", "code"), [(1, False, 0), (1, True, 1), (MOST + 1, False, 1)]
)
def test_what_failed_is_run_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], number: int, broken: bool, code: int
) -> None:
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "test_some.py").write_text(TESTS.format(number=number, broken=broken))
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:asyncio"]
    assert subprocess.run(command, cwd=tmp_path).returncode == 1
    capfd.readouterr()

    assert run_again(tmp_path) == code

    said = capfd.readouterr().out
    *_, end = said.partition("Each is a fault to mend:\n")
    assert end == ("  test_some.py::test_at_the_second_time[0]\n" if code == 0 else "")
    assert ("Up to 5" in said, "test_always" in said) == (number > MOST, False)
