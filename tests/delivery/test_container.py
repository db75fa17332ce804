"""The list of parts and the container, made and started: ``make test-delivery``.

Without a registry the base image is made of Debian packages (``images.py``).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from community_gql.settings.checks import plain_address
from tests.delivery.images import CHECKOUT, ON_DEMAND, needs, product, run, wheel
from tests.delivery.test_files import locked
from tests.http.server import HOST, free_port
from tests.support.provider import provided

pytestmark = [pytest.mark.system, *ON_DEMAND]
IMAGE = "localhost/community-gql-test"


def test_the_list_of_parts_has_every_package_of_the_lock() -> None:
    run("make", "sbom")
    found = json.loads((CHECKOUT / "dist" / "community-gql.cdx.json").read_text())

    assert found["bomFormat"] == "CycloneDX"
    assert found["metadata"]["component"]["name"] == "community-gql"
    parts = {part["name"]: part["version"] for part in found["components"]}
    assert parts == locked("requirements-serve.lock")


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    needs("buildah", "mmdebstrap")
    wheel()
    product(IMAGE)
    yield IMAGE
    run("buildah", "rmi", "--force", IMAGE)


def test_the_image_is_small_and_nobodys(image: str) -> None:
    found = json.loads(run("buildah", "inspect", "--type", "image", image))["Docker"]["config"]

    assert found["User"] == "65532:65532"
    assert found["Entrypoint"] == ["community-gql"]
    assert found["Cmd"] == ["serve"]
    assert found["Healthcheck"]["Test"][0] == "CMD"
    assert found["StopSignal"] == "SIGTERM"
    container = run("buildah", "from", image).strip()
    try:
        listed = run("buildah", "run", "--isolation=chroot", container, "--",
                     "find", "/opt/community-gql", "-name", "*embedded*", "-o", "-name", "pip*",
                     "-path", "*site-packages*", "-maxdepth", "5")  # fmt: skip
        assert listed == ""
    finally:
        run("buildah", "rm", container)


def test_it_serves_with_a_file_system_that_cannot_be_written(image: str, database_url: str) -> None:
    """In a chroot of its own, as its own account, over the database of the tests."""
    needs("buildah", "unshare")
    port = free_port()
    container = run("buildah", "from", image).strip()
    root = Path(run("buildah", "mount", container).strip())
    sockets = re.search(r"host=([^&]+)", plain_address(database_url))
    assert sockets is not None
    folder = urllib.request.unquote(sockets[1])  # type: ignore[attr-defined]
    with provided() as identity:
        environment = identity | {
            "DATABASE_URL": plain_address(database_url),
            "PORT": str(port),
            "HOST": HOST,
            "DRAIN_SECONDS": "0",
            "PATH": "/opt/community-gql/bin:/usr/bin:/bin",
        }
        # A mount namespace: the root is bound read-only, /tmp is its own, and the database's
        # socket, which only PostgreSQL's account may use, is lent to it.
        owner, chroot = os.stat(folder), str(shutil.which("chroot"))
        script = (
            f"mount --bind {root} {root} && mkdir -p {root}{folder} && "
            f"mount --bind {folder} {root}{folder} && mount -t tmpfs tmpfs {root}/tmp && "
            f"chmod 1777 {root}/tmp && mount -o remount,ro,bind {root} && "
            f"exec {chroot} --userspec={owner.st_uid}:{owner.st_gid} {root} "
            "/opt/community-gql/bin/community-gql serve"
        )
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "bash", "-c", script],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5) as ready:
                        assert json.load(ready)["ready"] is True
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        process.kill()
                        raise AssertionError(process.communicate()[0].decode()) from None
                    time.sleep(0.2)
            health = json.loads(run("buildah", "inspect", "--type", "image", image))
            words = health["Docker"]["config"]["Healthcheck"]["Test"][1:]
            run(chroot, root, f"/opt/community-gql/bin/{words[0]}", *words[1:], env=environment)
            with pytest.raises(subprocess.SubprocessError):
                subprocess.run(
                    ["nsenter", f"--mount=/proc/{process.pid}/ns/mnt", "touch", f"{root}/opt/x"],
                    check=True,
                    capture_output=True,
                )
        finally:
            process.terminate()
            process.communicate(timeout=30)
            run("buildah", "umount", container)
            run("buildah", "rm", container)
    assert process.returncode in (0, -15), process.returncode
