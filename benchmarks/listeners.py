"""Clients that follow live updates, in a process of their own: as little work each as there can be.

    python -m benchmarks.listeners PORT    (commands on stdin, answers on stdout, a JSON text each)

They speak ``graphql-transport-ws`` over plain sockets and one epoll. What arrives is kept as bytes
with the time, and is only read when nobody waits for it.
"""

from __future__ import annotations

import hashlib
import json
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import orjson

HOST = "127.0.0.1"
OPEN_SECONDS = 200
TOGETHER = 64
"""So many connect at once."""
MASK = b"\x00\x00\x00\x00"
"""Frames of clients are masked, with whatever they choose."""
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\nAuthorization: Bearer %b\r\n\r\n"
)
INIT = b'{"type":"connection_init"}'
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def masked(payload: bytes, opcode: int = TEXT) -> bytes:
    """A frame of a client."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    return head + MASK + payload


def frames(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """The whole frames at the beginning of the data: opcode, payload, and where each ends."""
    start = 0
    while len(data) - start >= 2:
        size, begin = data[start + 1] & 0x7F, start + 2
        if size > 125:
            more = 2 if size == 126 else 8
            size = int.from_bytes(data[begin : begin + more], "big")
            begin += more
        end = begin + size
        if end > len(data):
            return
        yield data[start] & 0x0F, data[begin:end], end
        start = end


class Follower:
    """One client."""

    __slots__ = ("began", "events", "left", "message", "sock", "times")

    def __init__(self, sock: socket.socket, message: bytes) -> None:
        self.sock, self.message = sock, message
        self.began = False
        """Whether the server has answered the handshake."""
        self.left = b""
        """What has arrived of a frame that is not complete."""
        self.events: list[bytes] = []
        self.times: list[float] = []
        """When each event came, by the clock that all processes share."""

    def arrived(self, data: bytes, now: float) -> bool:
        """Take what has arrived; whether there was an event in it. Raises ConnectionError."""
        data = self.left + data
        if not self.began:
            head, separator, data = data.partition(b"\r\n\r\n")
            if not separator:
                self.left = head
                return False
            if not head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(head.decode(errors="replace").splitlines()[0])
            self.began = True
            self.sock.send(masked(INIT))
        read, event = 0, False
        for opcode, payload, end in frames(data):
            read = end
            if opcode == PING:
                self.sock.send(masked(payload, PONG))
            elif opcode == CLOSE:
                raise ConnectionError(f"closed: {payload[2:].decode(errors='replace')}")
            elif b'"type":"next"' in payload or b'"type": "next"' in payload:
                self.events.append(payload)
                self.times.append(now)
                event = True
            elif b"connection_ack" in payload:
                self.sock.send(self.message)
            elif b'"type":"ping"' in payload:
                self.sock.send(masked(b'{"type":"pong"}'))
            else:
                raise ConnectionError(payload.decode(errors="replace"))
        self.left = data[read:]
        return event


class Listeners:
    """All clients of this process."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._followers: dict[int, Follower] = {}
        self.broken: list[str] = []

    def open(self, tokens: list[str], payload: dict[str, Any], events: int) -> float:
        """Have a client for each token, that subscribes and has so many events; the seconds."""
        began = time.monotonic()
        message = masked(orjson.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        waiting: set[int] = set()
        for token in tokens:
            while len(waiting) >= TOGETHER:
                waiting -= self._poll(1.0)
                self._give_up_if(time.monotonic() - began > OPEN_SECONDS, "opening takes too long")
            sock = socket.create_connection((HOST, self._port))
            sock.setblocking(False)
            self._followers[sock.fileno()] = Follower(sock, message)
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            # Every system reads the header, and not all the payload of `connection_init`.
            sock.send(HANDSHAKE % token.encode())
            if events:
                waiting.add(sock.fileno())
        while waiting:
            waiting -= self._poll(1.0)
            self._give_up_if(time.monotonic() - began > OPEN_SECONDS, "opening takes too long")
        return time.monotonic() - began

    def expect(self, events: int, seconds: float) -> list[float]:
        """Wait until each has so many events since ``forget``; when each had the last of them."""
        until = time.monotonic() + seconds
        missing = {fd for fd, one in self._followers.items() if len(one.events) < events}
        while missing and time.monotonic() < until:
            for fd in self._poll(0.5):
                if fd in missing and len(self._followers[fd].events) >= events:
                    missing.discard(fd)
        self._give_up_if(bool(missing), f"{len(missing)} clients have not all they should have")
        return [one.times[events - 1] for one in self._followers.values()]

    def idle(self, seconds: float) -> None:
        """Answer pings for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._poll(left)

    def told(self) -> Counter[str]:
        """What clients were told since ``forget``, each by what all its events say.

        Without moments, which differ from run to run.
        """
        found: Counter[str] = Counter()
        for one in self._followers.values():
            data = [orjson.loads(event)["payload"] for event in one.events]
            text = json.dumps(data, sort_keys=True)
            found[text if len(text) < 2000 else hashlib.sha256(text.encode()).hexdigest()] += 1
        return found

    def forget(self) -> None:
        """Forget the events so far."""
        for one in self._followers.values():
            one.events.clear()
            one.times.clear()

    def close(self) -> None:
        """Let all go."""
        for one in self._followers.values():
            one.sock.close()
        self._followers.clear()

    def _poll(self, seconds: float) -> set[int]:
        """Read what has arrived; who had an event in it."""
        found = set()
        for fd, _ in self._epoll.poll(seconds):
            follower = self._followers[fd]
            try:
                data = follower.sock.recv(65536)
                if not data:
                    raise ConnectionError("cut")
                if follower.arrived(data, time.monotonic()):
                    found.add(fd)
            except ConnectionError as error:
                self.broken.append(str(error))
                self._epoll.unregister(fd)
                follower.sock.close()
                del self._followers[fd]
        return found

    def _give_up_if(self, condition: bool, why: str) -> None:
        if condition or self.broken:
            broken = f"; {len(self.broken)} broke off: {self.broken[0]}" if self.broken else ""
            raise TimeoutError(why + broken)


def probe(port: int, request: bytes, seconds: float) -> list[float]:
    """Send a request again and again over one connection; the seconds until each answer."""
    times = []
    with socket.create_connection((HOST, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.monotonic()
            answered(sock, request)
            times.append(time.monotonic() - start)
            time.sleep(0.001)
    return times


def answered(sock: socket.socket, request: bytes) -> bytes:
    """The body of the answer to a request. Raises ConnectionError for a refusal."""
    sock.sendall(request)
    data = b""
    while True:
        more = sock.recv(65536)
        data += more
        head, separator, body = data.partition(b"\r\n\r\n")
        if separator:
            if not head.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(data.decode(errors="replace"))
            size = next(
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            if len(body) >= size:
                return body
        if not more:
            raise ConnectionError("cut")


def fetch(port: int, request: bytes) -> str:
    """The body of the answer to a request."""
    with socket.create_connection((HOST, port)) as sock:
        return answered(sock, request).decode()


def main() -> None:
    """Do what stdin says."""
    port = int(sys.argv[1])
    listeners = Listeners(port)
    commands: dict[str, Callable[..., Any]] = {
        "open": listeners.open,
        "expect": listeners.expect,
        "idle": listeners.idle,
        "told": listeners.told,
        "forget": listeners.forget,
        "close": listeners.close,
        "fetch": lambda request: fetch(port, request.encode()),
        "probe": lambda request, seconds: probe(port, request.encode(), seconds),
    }
    for line in sys.stdin:
        command, given = json.loads(line)
        try:
            answer = {"result": commands[command](**given)}
        except (OSError, TimeoutError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
