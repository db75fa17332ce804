"""The listening socket, and how it is closed without losing who has connected."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import socket
import sys
import termios

SETTLE_SECONDS = 0.3
"""How long connections that the kernel has begun may take to become complete: a round trip."""

_SO_ATTACH_FILTER = 26
"""Linux's, on all machines that Python is built for in practice; ``socket`` has no name for it."""
_TCP_FLAGS, _SYN = 13, 0x02


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


_NO_SYN = (
    (0x30, 0, 0, _TCP_FLAGS),  # load the byte of flags
    (0x45, 0, 1, _SYN),  # if it has SYN, go on, else skip one
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)


def refuse_newcomers(listener: socket.socket) -> None:
    """Have the kernel begin no new connection; those that it has begun become complete.

    Who asks for one gets no answer, asks again after a second, and is refused once the socket is
    closed. It holds for all processes that share the socket. Where the kernel cannot do it (other
    systems than Linux), nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    instructions = (_Instruction * len(_NO_SYN))(*(_Instruction(*one) for one in _NO_SYN))
    program = _Program(len(_NO_SYN), ctypes.addressof(instructions))
    with contextlib.suppress(OSError):  # a sandbox that knows no filters
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))


def accept_all(listener: socket.socket) -> list[socket.socket]:
    """Take every connection that waits in the kernel's queue. The listener must not block."""
    accepted = []
    with contextlib.suppress(OSError):  # nobody waits any more, or no more files may be opened
        while True:
            with contextlib.suppress(ConnectionError):  # it has gone already
                accepted.append(listener.accept()[0])
    return accepted


def has_unread(transport: asyncio.BaseTransport) -> bool:
    """Whether bytes of a connection have arrived that were not read yet: closing resets them."""
    connection = transport.get_extra_info("socket")
    return fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)) != bytes(4)
