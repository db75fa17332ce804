"""uvicorn's configuration of a process that serves."""

from __future__ import annotations

from typing import Any

from uvicorn import Config

from community_gql.http.limits import ConnectionLimits
from community_gql.http.protocol import BoundedProtocol


class BoundedConfig(Config):
    """The same with our bounds; it travels to the worker processes as it is."""

    def __init__(
        self, app: Any, *, limits: ConnectionLimits, drain_seconds: float = 0, **options: Any
    ) -> None:
        super().__init__(
            app,
            http=BoundedProtocol,
            ws="none",
            server_header=False,
            access_log=False,
            proxy_headers=False,  # the application itself trusts TRUSTED_PROXIES only
            **options,
        )
        self.limits, self.drain_seconds = limits, drain_seconds
