"""The real OpenID provider (npm ``oidc-provider``) in a process of its own, and its controls."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.node import installed

FOLDER = Path(__file__).parent / "provider"


@dataclass(frozen=True)
class NodeProvider:
    """``issuer`` is its address; the rest is done through its second port."""

    issuer: str
    control: str

    def tell(self, command: str, **given: Any) -> Any:
        response = httpx.post(f"{self.control}/{command}", json=given, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()

    def person(self, sub: str, email: str | None, **more: Any) -> None:
        """Have a person; ``verified``, ``permissions``, and ``claim=False`` for tokens without."""
        self.tell("person", sub=sub, email=email, **more)

    def token(self, sub: str, audience: str) -> str:
        """An access token of a person, as after a sign-in."""
        return str(self.tell("mint", sub=sub, audience=audience)["token"])

    def machine_token(self, audience: str) -> str:
        """An access token of the client ``matcher`` for itself."""
        response = httpx.post(
            f"{self.issuer}/token",
            data={"grant_type": "client_credentials", "resource": audience},
            auth=("matcher", "secret of the matcher"),
        )
        return str(response.json()["access_token"])


def installed_provider() -> Path:
    """The folder of the provider and the browser, with their packages, or a skip."""
    return installed(FOLDER, "the real OpenID provider")


@contextmanager
def node_provider(application: str) -> Iterator[NodeProvider]:
    """The provider, for the application at this origin, until the block ends."""
    folder = installed_provider()
    process = subprocess.Popen(
        ["node", "provider.mjs", application],
        cwd=folder,
        stdin=subprocess.PIPE,  # it ends when this does, also when we are killed
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, "the provider did not start"
        yield NodeProvider(**json.loads(line))
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()
