"""What it was measured with: the machine, the versions, the sizes."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import orjson

from benchmarks.database import SETTINGS, Database
from benchmarks.processes import Failed
from benchmarks.system import POOL
from benchmarks.systems import NODE, node


def conditions(database: Database, rounds: str, load_average: float) -> dict[str, str]:
    """Machine, versions and sizes."""
    sizes = ", ".join(f"{count:,} {table}" for table, count in database.sizes().items())
    settings = ", ".join(f"{name}={value}" for name, value in SETTINGS.items())
    packages = "strawberry-graphql graphql-core starlette uvicorn uvloop sqlalchemy asyncpg orjson"
    found = {
        "machine": f"{processor()}, {os.cpu_count()} cores, {memory()} GB",
        "load before the run": f"{load_average:.1f} (mean of 5 minutes; 0 is a quiet machine)",
        "system": f"{platform.system()} {platform.release()}",
        "rows": sizes,
        "rounds": rounds,
        "processes": f"one of each server, {POOL} connections to the database each",
        "PostgreSQL": database.run("SHOW server_version") + f" ({settings})",
        "Python": f"{platform.python_version()}, built {platform.python_build()[1]}, "
        f"a million calls of a function in {million_calls():.3f} s, "
        + ", ".join(f"{name} {version(name)}" for name in packages.split()),
        "wrk": said("wrk", "--version").partition(" [")[0].removeprefix("wrk "),
        "this project": said(
            "git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"
        ),
    }
    with contextlib.suppress(Failed, OSError):
        names = ("postgraphile", "mercurius", "graphql", "graphql-jit", "fastify", "pg")
        modules = NODE / "node_modules"
        found["Node"] = f"{said(node(), '--version')}, " + ", ".join(
            f"{name} {orjson.loads((modules / name / 'package.json').read_bytes())['version']}"
            for name in names
        )
    return found


def said(*words: str) -> str:
    """The first line that a program says."""
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def million_calls() -> float:
    """Processor time of as many calls of a Python function, in seconds: the least of five.

    How Python was compiled is not to be found out, and makes a difference of half (decision 169).
    """

    def nothing(value: int) -> int:
        return value

    took = []
    for _ in range(5):
        begin = time.process_time()
        for number in range(1_000_000):
            nothing(number)
        took.append(time.process_time() - begin)
    return min(took)


def processor() -> str:
    """The name of this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory() -> int:
    """This machine's memory in GB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
