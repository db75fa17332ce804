"""Runs the tests that failed once more, alone and in a row, and says what came of it.

python -m tests.again

`make test`, `make test-system` and `make test-fast` call it when tests failed. Four run at a time
there, beside the servers that they start, and a machine that stops for seconds lets a test miss a
deadline. A test that fails alone too fails the run. One that passes is named in the last lines: it
leans on time or on its neighbours, and that is a fault to mend.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FAILED = ".pytest_cache/v/cache/lastfailed"  # pytest's own record
MOST = 5
"""How many tests may fail and be tried again. More of them have a cause in the code."""


def run_again(folder: Path) -> int:
    """Run what failed last in ``folder``, and return pytest's exit code, 1 if it is too much."""
    record = folder / FAILED
    failed = sorted(json.loads(record.read_text())) if record.exists() else []
    if not 0 < len(failed) <= MOST:
        print(f"\n{len(failed)} tests failed. Up to {MOST} would be run once more, alone.")  # noqa: T201
        return 1
    print(f"\nOnce more, alone: {', '.join(failed)}", flush=True)  # noqa: T201
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "--last-failed"]
    code = subprocess.run([*command, "--last-failed-no-failures", "none"], cwd=folder).returncode
    if code == 0:
        print("\nThese failed beside other tests and passed alone. Each is a fault to mend:")  # noqa: T201
        print("\n".join(f"  {name}" for name in failed))  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(run_again(Path(__file__).parents[1]))
