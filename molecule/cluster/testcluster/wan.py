# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wide-area network between laptop and login node: a relay that holds every byte back by half the round trip.

(`tc netem` is not in every kernel; a relay in user space is.) Run as `python3 wan.py LISTEN TARGET MS STATE`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from typing import List

PORT = 22


def start(layout: "Layout", round_trip: int) -> None:  # noqa: F821
    """Delay what goes through the address `wan` of the layout by this round trip, in milliseconds."""
    stop(layout)
    with open(layout.path("wan.log"), "ab") as log:
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, "-I", os.path.abspath(__file__), layout.wan, layout.login_outside, str(round_trip),
             layout.state], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((layout.wan, PORT), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the WAN relay did not start, see %s" % layout.path("wan.log")) from None
            time.sleep(0.02)


def stop(layout: "Layout") -> None:  # noqa: F821
    """End the relay and its connections."""
    while True:
        pids = relays(layout)
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def relays(layout: "Layout") -> List[int]:  # noqa: F821
    """The pids of this cluster's relay, one at most."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/cmdline" % entry, "rb") as stream:
                    words = stream.read().decode(errors="replace").split("\0")[:-1]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if len(words) > 4 and words[-5] == os.path.abspath(__file__) and words[-1] == layout.state:
                found.append(int(entry))
    return found


async def _relay(listen: str, target: str, delay: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay)   # the handshake of TCP itself
        try:
            far_reader, far_writer = await asyncio.open_connection(target, PORT)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_late(reader, far_writer, delay), _late(far_reader, writer, delay))

    server = await asyncio.start_server(serve, listen, PORT)
    async with server:
        await server.serve_forever()


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass on what comes, each piece `delay` seconds after it came."""
    queue: "asyncio.Queue[tuple[float, bytes]]" = asyncio.Queue(maxsize=4096)
    clock = asyncio.get_running_loop().time

    async def deliver() -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not data:
                return
            writer.write(data)
            await writer.drain()

    delivery = asyncio.ensure_future(deliver())
    try:
        while not delivery.done():
            data = await reader.read(65536)
            await queue.put((clock() + delay, data))
            if not data:
                break
        await delivery
    except OSError:
        delivery.cancel()
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(_relay(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 2000))
