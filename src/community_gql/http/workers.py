"""Several processes that serve one address, and their parent.

The parent starts them, replaces those that end, and passes on signals: SIGTERM ends them as
DrainingServer says, SIGINT sooner, SIGHUP replaces them one after the other. They share its
listening socket, and end when it does. A signal that a worker gets itself is passed to the
parent, which alone knows whether the address goes on being served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from community_gql.http.config import BoundedConfig
from community_gql.http.server import NOT_STARTED, DrainingServer
from community_gql.settings import OperatorError
from community_gql.telemetry import metrics

START_SECONDS = 120.0
"""How long a worker may take to start, on a slow machine too."""
RESTART_SECONDS, MOST_RESTART_SECONDS = 1.0, 30.0
"""Between the end of a worker and the start of the next in its place: at first, and when starting
fails again and again."""
MORE_SECONDS = 5.0
"""How much longer than it says a worker may take to end before it is killed."""

SIGNAL_SECONDS = 0.5
"""How long after a worker the parent may get a signal that was sent to both, as systemd does."""

HEARS, SERVES, LEAVES, FAILED = "hears", "serves", "leaves", "failed"
DRAIN, STOP, RETIRE = "drain", "stop", "retire"

_log = logging.getLogger("community_gql.server")
_spawn = multiprocessing.get_context("spawn")


# --- in the worker ------------------------------------------------------------------------------


class ReportingServer(DrainingServer):
    """A server that tells its parent when it serves, and does what that says."""

    def __init__(self, config: BoundedConfig, parent: Connection) -> None:
        super().__init__(config)
        self._parent = parent
        self._deciding = threading.Lock()
        self._begun = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        with self._deciding:
            self._begun = True
        await super().startup(sockets)
        if self.started:
            self._parent.send((SERVES, ""))

    def handle_exit(self, sig: int, frame: object) -> None:
        """A signal for this process: the parent says what it means."""
        with contextlib.suppress(OSError):  # it has ended, and so shall we: see obey
            self._parent.send((LEAVES, signal.Signals(sig).name))

    def obey(self) -> None:
        """Wait for the parent's word; without a parent there is nothing to serve for."""
        while True:
            try:
                word = self._parent.recv()
            except (EOFError, OSError):
                word = STOP
            with self._deciding:
                if not self._begun:
                    os._exit(0)  # it is still loading the application: it has accepted nobody
            if word == RETIRE:
                self.retire()
            else:
                self.end(patient=word == DRAIN)
            if word == STOP:
                return


def work(config: BoundedConfig, listener: socket.socket, parent: Connection) -> None:
    """What a worker process runs."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is for the parent
    config.configure_logging()
    server = ReportingServer(config, parent)
    parent.send((HEARS, ""))
    threading.Thread(target=server.obey, daemon=True).start()
    try:
        server.run([listener])
    except OperatorError as error:
        parent.send((FAILED, str(error)))
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        pass


# --- in the parent ------------------------------------------------------------------------------


class Worker:
    """A worker process, as its parent sees it."""

    def __init__(self, config: BoundedConfig, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._pipe, theirs = _spawn.Pipe()
        self._process: SpawnProcess = _spawn.Process(target=work, args=(config, listener, theirs))
        self._process.start()
        theirs.close()  # or neither side would notice that the other is gone
        self.pid = self._process.pid or 0
        self._first_word: asyncio.Future[str | None] = loop.create_future()
        self._hears = False
        self.signal = ""
        self.leaves, self.ended = asyncio.Event(), asyncio.Event()
        loop.add_reader(self._pipe.fileno(), self._hear)
        loop.add_reader(self._process.sentinel, self._bury)

    async def serves(self) -> str | None:
        """Wait until it serves; otherwise return a sentence about why it does not."""
        try:
            async with asyncio.timeout(START_SECONDS):
                return await asyncio.shield(self._first_word)
        except TimeoutError:
            return f"A worker did not start within {START_SECONDS:g} seconds."

    def tell(self, word: str) -> None:
        """Tell it to end, in one of three ways."""
        with contextlib.suppress(OSError):  # it has ended already
            self._pipe.send(word)

    async def end(self, word: str, seconds: float) -> None:
        """Tell it to end, and wait until it has; kill it when that takes longer."""
        if self._hears or self.ended.is_set() or self._pipe.poll():
            self.tell(word)
        else:
            self._process.kill()  # its interpreter is still starting: there is nothing to lose
        try:
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        except TimeoutError:
            _log.warning("worker %d does not end and is killed", self.pid)
            self._process.kill()
            await self.ended.wait()

    @property
    def outcome(self) -> str:
        """How it ended."""
        code = self._process.exitcode or 0
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"

    def _hear(self) -> None:
        try:
            self._read()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())

    def _read(self) -> None:
        word, text = self._pipe.recv()
        if word == HEARS:
            self._hears = True
        elif word == LEAVES:
            self.signal = text
            self.leaves.set()
        else:
            self._say(None if word == SERVES else text)

    def _bury(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._process.sentinel)
        loop.remove_reader(self._pipe.fileno())
        with contextlib.suppress(EOFError, OSError):
            while self._pipe.poll():
                self._read()
        self._process.join()
        self._pipe.close()
        self._say(NOT_STARTED)
        self.ended.set()
        self.leaves.set()

    def _say(self, word: str | None) -> None:
        if not self._first_word.done():
            self._first_word.set_result(word)


class Workers:
    """The parent. ``run`` returns when all have ended."""

    def __init__(self, config: BoundedConfig, listener: socket.socket) -> None:
        self._config, self._listener = config, listener
        graceful = config.timeout_graceful_shutdown or 0
        self._seconds = config.drain_seconds + graceful + MORE_SECONDS
        self._word = DRAIN
        self._all: set[Worker] = set()
        self._workers: list[Worker] = []
        """One for each place; in ``_all`` are also those that come or go."""

    def run(self) -> None:
        """Serve until a signal ends it. Raises OperatorError when the workers cannot start."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._end, self._hup, self._changing = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        loop.add_signal_handler(signal.SIGTERM, self._end_by, DRAIN)
        loop.add_signal_handler(signal.SIGINT, self._end_by, STOP)
        loop.add_signal_handler(signal.SIGHUP, self._hup.set)
        _log.info("process %d starts %d workers", os.getpid(), self._config.workers)
        serving = asyncio.ensure_future(self._serve())
        end = asyncio.ensure_future(self._end.wait())
        try:
            await asyncio.wait((serving, end), return_when=asyncio.FIRST_COMPLETED)
            if not end.done():
                self._word = STOP
                serving.result()
        finally:
            end.cancel()
            serving.cancel()
            self._listener.close()
            await asyncio.gather(*(worker.end(self._word, self._seconds) for worker in self._all))

    def _end_by(self, word: str) -> None:
        if self._end.is_set() and word == STOP:  # Ctrl-C while it drains
            for worker in self._all:
                worker.tell(STOP)
        self._word = word
        self._end.set()

    async def _serve(self) -> None:
        """Start all, and keep them. The first shows whether it can be done."""
        self._workers = [self._new()]
        if (reason := await self._workers[0].serves()) is not None:
            raise OperatorError(reason)
        self._workers += [self._new() for _ in range(1, self._config.workers)]
        for worker in self._workers:
            if (reason := await worker.serves()) is not None:
                raise OperatorError(reason)
        async with asyncio.TaskGroup() as tasks:
            for place in range(len(self._workers)):
                tasks.create_task(self._keep(place))
            tasks.create_task(self._renew())

    def _new(self) -> Worker:
        worker = Worker(self._config, self._listener)
        self._all.add(worker)
        return worker

    async def _keep(self, place: int) -> None:
        """Replace the worker of this place whenever it ends, or has got a signal to end."""
        wait = RESTART_SECONDS
        while True:
            worker = self._workers[place]
            await worker.leaves.wait()
            if not worker.ended.is_set():
                worker.leaves.clear()
                await asyncio.sleep(SIGNAL_SECONDS)
                _log.info("worker %d got %s; another takes its place", worker.pid, worker.signal)
                await self._hand_over(place, worker)
                continue
            async with self._changing:
                self._all.discard(worker)
                if self._workers[place] is not worker:
                    continue  # its time had come
                metrics.WORKER_ENDS.inc()
                _log.warning("worker %d ended %s; another is started", worker.pid, worker.outcome)
                await asyncio.sleep(wait)
                self._workers[place] = self._new()
                reason = await self._workers[place].serves()
            if reason is None:
                wait = RESTART_SECONDS
                continue
            _log.error("the new worker does not serve: %s", reason)
            wait = min(2 * wait, MOST_RESTART_SECONDS)
            await self._workers[place].end(RETIRE, self._seconds)

    async def _renew(self) -> None:
        """Replace all, one after the other, at each SIGHUP."""
        while True:
            await self._hup.wait()
            self._hup.clear()
            _log.info("the workers are replaced one after the other")
            for place, worker in enumerate(self._workers):
                if not await self._hand_over(place, worker):
                    break

    async def _hand_over(self, place: int, old: Worker) -> bool:
        """Let a new worker take this one's place. If none can, it stays, which is False."""
        async with self._changing:
            if self._workers[place] is not old:
                return True  # somebody has
            new = self._new()
            if (reason := await new.serves()) is not None:
                _log.error("the workers stay as they are: %s", reason)
                await new.end(RETIRE, self._seconds)
                self._all.discard(new)
                return False
            self._workers[place] = new
        await old.end(RETIRE, self._seconds)
        self._all.discard(old)
        return True
