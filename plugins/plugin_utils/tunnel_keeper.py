# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a tunnel open until its session ends: after sleep, in another network, over a reboot of the login node.

    python tunnel_keeper.py STATE_DIRECTORY KEY

One small process for each kept tunnel, started by Tunnel.open(keep=True) and ended by Tunnel.close(). It takes what it
needs from the tunnel's file in the state directory, always comes back to the same local port, and ends by itself when the
session is over. It never asks anything: where a site wants a one-time password, it says so in its log and tries again
until a person has opened the way.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import signal
import sys
import time
import types

# Seconds.
LOOK = 10.0
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0


def _register_collection() -> None:
    """Make the collection importable without Ansible's own loader, from a checkout of any name."""
    parent = None
    root = pathlib.Path(__file__).resolve().parents[2]
    for name, path in (
        ("ansible_collections", []),
        ("ansible_collections.hpc", []),
        ("ansible_collections.hpc.jupyter", [str(root)]),
    ):
        package = sys.modules.setdefault(name, types.ModuleType(name))
        if not hasattr(package, "__path__"):
            package.__path__ = path
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], package)
        parent = package


def keep(directory: str, key: str) -> int:
    """Keep one tunnel until its session is over or nobody wants it any more.

    :returns: exit status: 0 the session is over, or the tunnel is not wanted; 1 another process keeps it.
    """
    from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop, routes, tunnel

    state = laptop.State(directory)
    handle = os.open(state.keeper_path(key), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 1
    os.ftruncate(handle, 0)
    os.write(handle, b"%d\n" % os.getpid())
    held = tunnel.Tunnel.from_state(state, key)
    # A queue wait between two jobs of a session may take hours, and the relay waits as well as we could.
    held.queue_patience = float("inf")
    # An ssh that is just being started has no control socket yet: Tunnel.open ends it on the way out.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    delay = FIRST_DELAY
    bad = 0
    told = ""
    while True:
        known = state.load(key)
        if not known.get("keep"):
            return 0
        target = held.kept_target()
        if held.is_up():
            # One bad answer may be a relay on its way to the next node, or a laptop that just woke up.
            bad = 0 if held.verify(target).kind == "ours" else bad + 1
            if bad < 2:
                time.sleep(LOOK if not bad else FIRST_DELAY)
                continue
        elif tunnel.last_event(held.log()).get("event") in ("over", "not-running"):
            return _over(state, key)
        try:
            if known["route"] != "relay":
                target = held.ask_where() or target
            opened = held.open(known["route"], target, exact=True)
            if opened.changed:
                _say(f"open again: {opened.url}")
            delay, bad = FIRST_DELAY, 0
            if not opened.pid:
                # A person's own terminal holds it: nothing to do but to look whether it still does.
                time.sleep(LOOK)
            continue
        except (tunnel.TunnelError, routes.RouteError, OSError) as error:
            if getattr(error, "cause", None) in ("over", "not-running"):
                return _over(state, key)
            if str(error) != told:
                told = str(error)
                _say(f"{told} Trying until it works.")
        time.sleep(delay)
        delay = min(LONGEST_DELAY, delay * 2)


def _over(state, key: str) -> int:
    state.save(key, dict(state.load(key), keep=False))
    _say("the session is over")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(time.strftime("%Y-%m-%d %H:%M:%S ") + text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    _register_collection()
    sys.exit(keep(sys.argv[1], sys.argv[2]))
