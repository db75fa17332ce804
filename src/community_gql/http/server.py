"""One process that serves: it starts, it serves, and it ends without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket

from uvicorn import Server

from community_gql.http.config import BoundedConfig
from community_gql.http.connections import Connections
from community_gql.http.limits import OWN_FILES, ConnectionLimits, open_files
from community_gql.http.listener import SETTLE_SECONDS, accept_all, refuse_newcomers
from community_gql.http.live_connections import LEAVE_SECONDS, LiveConnections
from community_gql.http.protocol import BoundedProtocol
from community_gql.http.sockets import SOCKETS, Sockets
from community_gql.settings import OperatorError
from community_gql.settings.checks import trusts_everyone

NOT_STARTED = "The server could not start; the lines above say why."
TICK = 0.1
"""Seconds between two looks at whether all have gone."""
DATE_SECONDS = 1.0
"""How old the Date of an answer may be."""

_log = logging.getLogger("community_gql.server")


class DrainingServer(Server):
    """uvicorn's server, which goes on listening for a while when it is told to end.

    ``/readyz`` says no at once, and each answer is the last of its connection, so that who comes
    through a proxy is sent elsewhere. After DRAIN_SECONDS nobody new is accepted, and what was
    asked is answered. Ctrl-C does not wait.
    """

    config: BoundedConfig

    def __init__(self, config: BoundedConfig, *, handed_on: bool = False) -> None:
        """``handed_on``: another process serves the same socket once this one has ended."""
        self._should_exit = False
        self._told = asyncio.Event()
        """That something is to be done about ``should_exit``."""
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(config)
        self.server_state: Connections = Connections()
        self._patient = True
        self._retired = handed_on

    @property
    def should_exit(self) -> bool:
        """Whether it is to end. Set from any thread, and by signals, it wakes the process."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._told.set)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal ends it. Raises OperatorError when it cannot start."""
        try:
            super().run(sockets)
        except SystemExit:  # uvicorn's word for it
            if self.started:
                raise
        if not self.started and not self.should_exit:
            raise OperatorError(NOT_STARTED)

    def end(self, *, patient: bool) -> None:
        """End; without patience at once, but for what was asked. From any thread."""
        self._patient = self._patient and patient
        self.should_exit = True

    def retire(self) -> None:
        """End because another process has taken over: the address goes on being served."""
        self._retired = self.should_exit = True

    def handle_exit(self, sig: int, frame: object) -> None:
        """A signal: SIGTERM (patient) or SIGINT."""
        if sig == signal.SIGINT:
            self._patient = False
        super().handle_exit(sig, frame)  # type: ignore[arg-type]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, with room for as many sockets as this process may open files."""
        await super().startup(sockets)
        if self._live is not None:
            self._live.bound(self.config.limits.max_sockets)

    async def main_loop(self) -> None:
        """Serve until it is told to end. uvicorn's own looks for that ten times a second."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # writes the Date of answers
            timer = self._loop.call_later(DATE_SECONDS, self._told.set)
            await self._told.wait()
            timer.cancel()
            self._told.clear()

    @property
    def _live(self) -> LiveConnections | None:
        """The connections for live updates, if the application has any to give."""
        found: Sockets | None = self.lifespan.state.get(SOCKETS)
        return None if found is None else found.connections

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, stop listening, answer what was asked."""
        self.server_state.draining = True
        if self._live is not None:
            seconds = min(LEAVE_SECONDS, self.config.drain_seconds) if self._patient else 0
            self._live.drain(seconds)
        if self._retired:
            self._stop_listening(sockets)
        else:
            self.lifespan.state["draining"] = True
        await self._drain()
        if self._live is not None:
            await self._live.finish()
        if not self._retired:
            await self._close_listeners(sockets or [])
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.config.drain_seconds
        counter = 0
        while self._patient and not self.force_exit and loop.time() < until:
            if self._retired and not self.server_state.connections and not self._live:
                return
            counter += 1
            await self.on_tick(counter)  # keeps the Date of answers
            await asyncio.sleep(min(TICK, max(until - loop.time(), 0)))

    def _stop_listening(self, sockets: list[socket.socket] | None) -> None:
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()

    async def _close_listeners(self, sockets: list[socket.socket]) -> None:
        """Stop listening, and take everybody whom the kernel has accepted for us.

        Whoever is still in the kernel's queue when the last process closes the listener is reset.
        So the kernel is told first to let nobody new in.
        """
        loop = asyncio.get_running_loop()
        for sock in sockets:
            refuse_newcomers(sock)
        await asyncio.sleep(SETTLE_SECONDS)
        # The loop closes its own a turn later than it is told to; ours are closed at once.
        ours = [sock.dup() for sock in sockets]
        self._stop_listening(sockets)
        for sock in ours:
            sock.setblocking(False)
            accepted = accept_all(sock)
            sock.close()
            for connection in accepted:
                connection.setblocking(False)
                with contextlib.suppress(OSError):  # it has gone already
                    await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state)


def serve_alone(config: BoundedConfig, listener: socket.socket, *, handed_on: bool = False) -> None:
    """Serve in this process until a signal ends it. Raises OperatorError when it cannot start.

    With ``handed_on`` the socket goes on listening, for the process that serves it next.

    A SIGHUP is ignored, unless it has a meaning already: there is no other process to take over.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.suppress(KeyboardInterrupt):
        DrainingServer(config, handed_on=handed_on).run([listener])


def warn_of_open_trust(trusted_proxies: tuple[str, ...]) -> None:
    """Warn where ``X-Forwarded-For`` is believed whoever sends it."""
    if trusts_everyone(trusted_proxies):
        _log.warning(
            "TRUSTED_PROXIES=%s believes the X-Forwarded-For of everyone: unless the proxy in "
            "front replaces that field, each request can name an address of its own, and so have "
            "a budget of its own. Name the proxy's address or network instead, such as 10.0.0.0/8.",
            ",".join(trusted_proxies),
        )


def bounded(limits: ConnectionLimits, pool_size: int) -> ConnectionLimits:
    """The limits as far as this process and its children may open files; less is said.

    Raises OperatorError when there are too few files to serve at all.
    """
    others = OWN_FILES + pool_size
    wanted = others + limits.max_connections + limits.spare + limits.max_sockets
    files = open_files(wanted)
    possible = limits.within(files, others)
    for setting in ("max_connections", "max_sockets"):
        if (less := getattr(possible, setting)) < (said := getattr(limits, setting)):
            _log.warning(
                "ulimit -n is %d: a process keeps %d %s open, not %d as %s says. "
                "Raise it to %d or more.",
                files, less, setting.removeprefix("max_"), said, setting.upper(), wanted,
            )  # fmt: skip
    return possible
