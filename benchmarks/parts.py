"""This project behind PgBouncer, and reading from two standbys, beside itself over one PostgreSQL.

    python -m benchmarks.parts --people 2000 --rounds 5 --bouncer /path/to/pgbouncer

All answers are compared first. Everything runs on this machine: where its cores are all busy,
standbys cannot answer more requests together. What they show there is how much of the work leaves
the primary.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import make_url

from benchmarks import database as databases
from benchmarks.cases import GRAPH, LIST, PERSON, Query
from benchmarks.issuing import issuing
from benchmarks.processes import cpu_of, free_port
from benchmarks.running import Field, Load
from benchmarks.system import Surroundings
from benchmarks.systems import REFERENCE, SYSTEMS, Project
from community_gql.settings.checks import plain_address
from tests.support.postgres import OwnServer

HERE = Path(__file__).parent
FOLDER = HERE.parent / ".data" / "benchmark"
QUERIES = (PERSON, GRAPH, LIST)
PREPARES = (1, 21)
PREPARED = {
    "options": "connect_query='SET plan_cache_mode = force_generic_plan'",
    "more": "max_prepared_statements = 500",
}
"""What the documents ask of the role and of a PgBouncer that keeps prepared statements."""
PLAIN = {"options": "", "more": ""}
CONFIGURATION = """
[databases]
* = host={sockets} port={port} user={user} {options}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 10
max_client_conn = 1000
{more}
"""


class Variant(Project):
    """This project with a part before or beside its PostgreSQL."""

    def __init__(self, name: str, title: str, **settings: str) -> None:
        self.name, self.title, self.settings = name, title, settings

    def environment(self, given: Surroundings) -> dict[str, str]:
        """Those of the project, and this one's."""
        added = {name.upper(): value for name, value in self.settings.items()}
        return super().environment(given) | added


@contextmanager
def bouncing(
    program: str, folder: Path, url: str, given: Mapping[str, str]
) -> Iterator[tuple[int, int]]:
    """The port and the process of a PgBouncer before a database, until the block ends."""
    found, listen = make_url(url), free_port()
    sockets = str(found.query["host"])
    file = folder / f"pgbouncer-{listen}.ini"
    file.write_text(
        CONFIGURATION.format(
            sockets=sockets,
            port=found.query["port"],
            user=found.username,
            listen=listen,
            **given,
        )
    )
    # It refuses to run as root, and only PostgreSQL's own account may use its socket.
    owner = os.stat(sockets).st_uid if os.geteuid() == 0 else None
    with subprocess.Popen([program, "-q", str(file)], user=owner) as process:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", listen)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        try:
            yield listen, process.pid
        finally:
            process.terminate()
            file.unlink()


def measured(
    field: Field, names: list[str], query: Query, given: argparse.Namespace, pids: dict[str, int]
) -> dict[str, list[tuple[Load, float]]]:
    """What each variant did with a query, and what its part used for each request."""
    loads: dict[str, list[tuple[Load, float]]] = {name: [] for name in names}
    for number in range(given.rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            part = [pids[name]] if name in pids else [v for k, v in pids.items() if name in k]
            before = sum(map(cpu_of, part))
            load = field.load(field.running[name], query, given.connections, given.seconds)
            used = (sum(map(cpu_of, part)) - before) / load.requests
            if number:  # the first round warms up
                loads[name].append((load, used))
    return loads


def row(query: Query, name: str, found: list[tuple[Load, float]], base: list[float]) -> str:
    """A line of the table."""
    rates = [load.per_second for load, _ in found]
    ratio = statistics.median(a / b for a, b in zip(rates, base, strict=True))
    micro = [
        statistics.median(values) * 1e6
        for values in (
            [load.server_cpu for load, _ in found],
            [load.database_cpu for load, _ in found],
            [used for _, used in found],
        )
    ]
    return (
        f"| {query.name} | {name} | {statistics.median(rates):,.0f} | {ratio:.2f} | "
        f"{micro[0]:,.0f} | {micro[1]:,.0f} | {micro[2]:,.0f} |"
    )


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(text + "\n")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--only", nargs="*", help="names of queries and variants; all by default")
    parser.add_argument("--bouncer", default=shutil.which("pgbouncer", path="/usr/sbin:/usr/bin"))
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        ExitStack() as stack,
        databases.started(FOLDER / "postgres", say) as server,
        issuing() as issuer,
    ):
        database = databases.filled(server, given.people, say)
        url = server.url(database.name)
        variants = [Variant("direct", "over PostgreSQL")]
        pids: dict[str, int] = {}
        if given.bouncer:
            version = subprocess.run([given.bouncer, "--version"], capture_output=True, text=True)
            found = re.match(r"PgBouncer (\d+)\.(\d+)", version.stdout)
            new = found is not None and tuple(map(int, found.groups())) >= PREPARES
            user = make_url(url).username
            for name, how in (("bouncer", PLAIN), ("bouncer prepared", PREPARED)):
                if new or how is PLAIN:
                    part = bouncing(given.bouncer, server.folder, url, how)
                    port, pids[name] = stack.enter_context(part)
                    options = {
                        "database_url": f"postgresql://{user}@127.0.0.1:{port}/{database.name}",
                        "database_pgbouncer": "true",
                        "database_pgbouncer_prepared": str(how is PREPARED).lower(),
                    }
                    variants.append(Variant(name, name, **options))
        primary = OwnServer(server._where, server.bin, server.pid)
        standbys = [stack.enter_context(primary.standby()) for _ in range(2)]
        urls = [plain_address(standby.url(database.name)) for standby in standbys]
        variants.append(Variant("standbys", "two standbys", database_read_url=" ".join(urls)))
        pids |= {f"standbys {n}": standby.pid for n, standby in enumerate(standbys)}
        field = stack.enter_context(Field(database, issuer, FOLDER / "logs" / "parts", say))
        field.start(next(system for system in SYSTEMS if system.name == REFERENCE))
        only = given.only or [*(query.name for query in QUERIES), *(v.name for v in variants)]
        for variant in variants:
            if variant.name == "direct" or variant.name in only:
                field.start(variant)
        time.sleep(2)  # until the standbys have been looked at
        names = [variant.name for variant in variants if variant.name in field.running]
        lines = []
        for query in (query for query in QUERIES if query.name in only):
            field.agree(query)
            say(f"measuring {query.name}")
            loads = measured(field, names, query, given, pids)
            base = [load.per_second for load, _ in loads["direct"]]
            lines += [row(query, name, loads[name], base) for name in names]
    head = "| query | | requests/s | of direct | server µs | primary µs | part µs |"
    sys.stdout.write("\n".join([head, "|---|---|---:|---:|---:|---:|---:|", *lines]) + "\n")


if __name__ == "__main__":
    main()
