# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be seen from outside: the bytes on a cluster's wires, the arguments of every process of this machine."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator

_ETH_P_ALL, _ETH_P_IP, _TCP = 0x0003, 0x0800, 6
# linux/connector.h, linux/cn_proc.h; the event follows the two headers.
_NETLINK_CONNECTOR, _NLMSG_DONE = 11, 3
_CN_IDX_PROC, _CN_VAL_PROC, _PROC_EVENT_EXEC = 1, 1, 2
_EVENT = 16 + 20
_SO_RCVBUFFORCE = 33


class Wire:
    """The TCP payload of each direction of each connection, in the order in which it went over the wire."""

    def __init__(self) -> None:
        self.flows: dict[tuple, bytearray] = collections.defaultdict(bytearray)

    def take(self, frame: bytes) -> None:
        if len(frame) < 54 or struct.unpack_from("!H", frame, 12)[0] != _ETH_P_IP or frame[23] != _TCP:
            return
        tcp = 14 + (frame[14] & 0x0f) * 4
        end = 14 + struct.unpack_from("!H", frame, 16)[0]
        payload = frame[tcp + (frame[tcp + 12] >> 4) * 4:end]
        if payload:
            self.flows[frame[26:30], frame[30:34], frame[tcp:tcp + 4]] += payload

    @property
    def size(self) -> int:
        return sum(len(flow) for flow in self.flows.values())

    def shows(self, secret: str) -> bool:
        """Whether a text went over the wire as it is."""
        return any(secret.encode() in flow for flow in self.flows.values())


@contextlib.contextmanager
def recorded(*interfaces: str) -> Iterator[Wire]:
    """Record what goes over network interfaces while the block runs."""
    wire = Wire()
    sockets = []
    for interface in interfaces:
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024 * 1024)
        sniffer.bind((interface, 0))
        sniffer.setblocking(False)
        sockets.append(sniffer)
    stop = threading.Event()

    def record() -> None:
        while True:
            last = stop.is_set()
            for sniffer in select.select(sockets, [], [], 0.1)[0]:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        wire.take(sniffer.recv(0x20000))
            if last:
                return

    thread = threading.Thread(target=record, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        stop.set()
        thread.join()
        for sniffer in sockets:
            sniffer.close()


class CommandLines:
    """The command lines of all hosts of the cluster and of the laptop: they share this machine's kernel."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def look(self, *pids: str) -> None:
        """Read the command lines of some processes, or of all."""
        for pid in pids or filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as stream:
                self.seen.add(stream.read())

    def showing(self, secret: str) -> list[str]:
        """Return the command lines that hold a text."""
        return [line.replace(b"\0", b" ").decode(errors="replace") for line in self.seen if secret.encode() in line]


def _executions() -> socket.socket | None:
    """Return a socket on which the kernel tells every exec, or None where it does not (within a container)."""
    try:
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR)
        events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 * 1024 * 1024)
        events.bind((0, _CN_IDX_PROC))
        listen = struct.pack("=IIIIHHI", _CN_IDX_PROC, _CN_VAL_PROC, 0, 0, 4, 0, 1)
        events.send(struct.pack("=IHHII", 16 + len(listen), _NLMSG_DONE, 0, 0, os.getpid()) + listen)
        events.settimeout(0.2)
        os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], {}), 0)
        while True:
            if struct.unpack_from("=I", events.recv(4096), _EVENT)[0] == _PROC_EVENT_EXEC:
                return events
    except OSError:
        return None


@contextlib.contextmanager
def watched() -> Iterator[CommandLines]:
    """Read every command line while the block runs: at its exec where the kernel tells of it, else again and again."""
    lines = CommandLines()
    lines.look()
    stop = threading.Event()
    events = _executions()

    def watch() -> None:
        while not stop.is_set():
            if events is None:
                lines.look()
                stop.wait(0.01)
                continue
            try:
                message = events.recv(4096)
            except TimeoutError:
                continue
            except OSError:  # a busy machine: more events than the buffer holds were lost
                lines.look()
                continue
            if struct.unpack_from("=I", message, _EVENT)[0] == _PROC_EVENT_EXEC:
                lines.look(str(struct.unpack_from("=I", message, _EVENT + 16)[0]))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        stop.set()
        thread.join()
        lines.look()
        if events is not None:
            events.close()
