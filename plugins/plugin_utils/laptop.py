# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the laptop remembers: its own id, each session's local port, each site's route.

Interface:
    State(directory=None)            the state, in $XDG_STATE_HOME/hpc.jupyter (0700)
    State.id                         8 hexadecimal digits, random, the same for good
    State.load(key) / save(key, v)   one JSON file a tunnel
    State.locked(key)                a context manager: one process at a time for one tunnel
    State.site(host) / remember_site(host, **facts) / forget_site(host)
    State.socket_path(key)           where a tunnel's control socket lies, short enough for every system
    choose_port(preferred, taken)    a free local TCP port
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
import secrets
import socket
import time
from collections.abc import Container, Iterator

from ansible_collections.hpc.jupyter.plugins.module_utils import files

FIRST_PORT = 8888
# macOS allows 104 bytes; while ssh makes a control socket, its name has 17 more characters.
_LONGEST_SOCKET = 104 - 1 - 17


def data_directory() -> pathlib.Path:
    """Return where this user keeps what must not be lost, the certificate authority: ``$XDG_DATA_HOME/hpc.jupyter``."""
    data = os.environ.get("XDG_DATA_HOME", "")
    # The specification says to ignore a relative one.
    base = pathlib.Path(data) if os.path.isabs(data) else pathlib.Path.home() / ".local" / "share"
    return base / "hpc.jupyter"


class NoPort(Exception):
    """No local port is free in the range that was looked at."""


def key(*parts: str) -> str:
    """Return a short, stable file name for what the parts name together."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def port_is_free(port: int) -> bool:
    """Tell whether a TCP port of 127.0.0.1 could be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As ssh does it: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def choose_port(preferred: int | None = None, taken: Container[int] = ()) -> int:
    """Return a free local port: the preferred one, else the next above it.

    :param taken: ports that other tunnels of this laptop want to come back to.
    :raises NoPort: when none of a hundred is free.
    """
    first = preferred or FIRST_PORT
    for port in range(first, min(first + 100, 65536)):
        if (port == preferred or port not in taken) and port_is_free(port):
            return port
    raise NoPort(
        f"No local port from {first} to {min(first + 99, 65535)} is free. Set jupyter_local_port to one that is."
    )


class Busy(Exception):
    """Another process is at work on this tunnel."""


def _lock_within(handle: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Busy() from None
        time.sleep(0.05)


class State:
    """The laptop's state directory.

    :param directory: for tests; the XDG state directory otherwise.
    :raises OSError: if the directory can't be made or is not the user's own.
    """

    def __init__(self, directory: str | os.PathLike | None = None):
        if directory is None:
            base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
            directory = pathlib.Path(base) / "hpc.jupyter"
        self.directory = pathlib.Path(directory).absolute()
        self.tunnels = self.directory / "tunnels"
        for path in (self.directory, self.tunnels):
            files.make_private_dir(str(path))

    @property
    def id(self) -> str:
        """This laptop's name on login nodes: 8 random hexadecimal digits."""
        path = str(self.directory / "laptop-id")
        for _attempt in range(2):
            text = (files.read_text(path) or "").strip()
            if len(text) == 8 and not set(text) - set("0123456789abcdef"):
                return text
            if text or os.path.exists(path):
                files.remove(path)
            files.create_exclusively(path, secrets.token_hex(4) + "\n")
        return (files.read_text(path) or "").strip()

    def _file(self, name: str, suffix: str) -> str:
        return str(self.tunnels / (name + suffix))

    def load(self, name: str) -> dict:
        """Return what is known of a tunnel by its key; {} for an unknown one."""
        value = files.read_json(self._file(name, ".json"), {})
        return value if isinstance(value, dict) else {}

    def save(self, name: str, value: dict) -> None:
        """Keep what is known of a tunnel."""
        files.write_json(self._file(name, ".json"), value)

    def log_path(self, name: str) -> str:
        """Return where a tunnel's ssh writes what it has to say."""
        return self._file(name, ".log")

    def keeper_path(self, name: str) -> str:
        """Return the file that a tunnel's keeper holds locked, with its process number."""
        return self._file(name, ".keeper")

    def keeper_log(self, name: str) -> str:
        """Return where a tunnel's keeper writes what it did."""
        return self._file(name, ".keeper.log")

    def names(self) -> list[str]:
        """Return the keys of all tunnels that were ever opened or emitted and not forgotten."""
        return sorted(path.name[:-5] for path in self.tunnels.glob("*.json"))

    def ports_of_others(self, name: str) -> set[int]:
        """Return the local ports that other tunnels come back to."""
        return {self.load(other).get("port", 0) for other in self.names() if other != name}

    @contextlib.contextmanager
    def locked(self, name: str, patience: float | None = None) -> Iterator[None]:
        """Hold a tunnel's lock; the kernel frees it when its holder dies.

        :param patience: seconds to wait for it, None for as long as it takes.
        :raises Busy: when another process holds it all that time.
        """
        # O_CLOEXEC is Python's default: an ssh started meanwhile does not inherit the lock.
        handle = os.open(self._file(name, ".lock"), os.O_RDWR | os.O_CREAT, files.PRIVATE_FILE)
        try:
            if patience is None:
                fcntl.flock(handle, fcntl.LOCK_EX)
            else:
                _lock_within(handle, patience)
            yield
        finally:
            os.close(handle)

    def socket_path(self, name: str) -> str:
        """Return a path for a tunnel's control socket.

        :raises OSError: if the fallback directory in the system's temporary directory is somebody else's.
        """
        path = self._file(name, ".ctl")
        if len(os.fsencode(path)) <= _LONGEST_SOCKET:
            return path
        # A name that depends on the state directory: two states of one user stay apart.
        short = os.path.join("/tmp", f"hpc.jupyter-{os.getuid()}")
        files.make_private_dir(short)
        return os.path.join(short, key(str(self.directory), name) + ".ctl")

    # What is known of a site: which routes work there.
    def _sites(self) -> dict:
        value = files.read_json(str(self.directory / "sites.json"), {})
        return value if isinstance(value, dict) else {}

    def site(self, host: str) -> dict:
        """Return what was remembered of a site; {} for an unknown one."""
        return self._sites().get(host, {})

    def remember_site(self, host: str, **facts: object) -> None:
        """Add facts to what is known of a site."""
        with self.locked("sites"):
            sites = self._sites()
            sites.setdefault(host, {}).update(facts)
            files.write_json(str(self.directory / "sites.json"), sites)

    def forget_site(self, host: str) -> None:
        """Forget a site, for instance when its route stopped working."""
        with self.locked("sites"):
            sites = self._sites()
            if sites.pop(host, None) is not None:
                files.write_json(str(self.directory / "sites.json"), sites)
