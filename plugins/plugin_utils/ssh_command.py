# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How this laptop reaches the login node by ssh, and how to write an ssh command for a shell.

Interface:
    Connection.from_task(task_vars, connection)   what Ansible itself used for this host
    Connection.arguments(...)                     [executable, options...] up to the destination
    Connection.destination                        host or user@host
    Connection.masters, .sharing(path), .opening(path)   connections that are open already and may be shared
    as_posix(argv), as_windows(argv)              one line for sh, and for both PowerShell and cmd.exe
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.hpc.jupyter.plugins.module_utils.places import HOST_NAME

# ssh's options that take a value (ssh.c, getopt string of OpenSSH 9).
_WITH_VALUE = set("BbcDEeFIiJLlmOopQRSWw")
# Ansible's own multiplexing is Ansible's: its path means nothing in a person's shell, and a tunnel that shared its master
# would go when Ansible's ControlPersist does.
_MULTIPLEXING = {"controlmaster", "controlpath", "controlpersist"}
# Set by the tunnel itself, or of no use to it.
_NOT_OURS = _MULTIPLEXING | {"batchmode", "connecttimeout", "localforward", "remoteforward", "dynamicforward"}
_NOT_OURS |= {"requesttty", "forwardagent", "forwardx11", "forwardx11trusted"}
# Options that say how to reach one host and would be wrong for the next one.
_OF_ONE_HOST = {"proxyjump", "proxycommand", "port", "user", "hostname", "hostkeyalias", "localcommand", "remotecommand"}
# How a laptop that we can't see reaches the login node on which the playbook runs.
LOGIN_VARIABLES = ("jupyter_login_host", "jupyter_login_user", "jupyter_login_port", "jupyter_login_ssh_args")
ANSIBLE_DEFAULT_SSH_ARGS = "-C -o ControlMaster=auto -o ControlPersist=60s"


class BadConnection(Exception):
    """The connection variables don't say how the laptop reaches the login node."""


class Unquotable(ValueError):
    """An argument that PowerShell and cmd.exe would read differently, however quoted."""


def _parse(arguments: Sequence[str]) -> list[tuple[str, str | None]]:
    """Split ssh arguments into (letter, value or None); ``-vAo X`` and ``-oX`` as getopt does it.

    :raises BadConnection: for a word that is no option.
    """
    options = []
    words = iter(arguments)
    for word in words:
        if not word.startswith("-") or len(word) < 2:
            raise BadConnection(f"the ssh arguments of the inventory hold {word!r}, which is no option of ssh")
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter not in _WITH_VALUE:
                options.append((letter, None))
                continue
            value = letters or next(words, None)
            if value is None:
                raise BadConnection(f"the ssh arguments of the inventory end with -{letter}, which needs a value")
            options.append((letter, value))
            break
    return options


def _keyword(value: str) -> tuple[str, str]:
    """Split the value of ``-o`` into its lower-case keyword and the rest."""
    match = re.match(r"\s*(\w+)\s*(?:=\s*|\s)(.*)\Z", value, re.S)
    return (match.group(1).lower(), match.group(2).strip()) if match else (value.strip().lower(), "")


@dataclasses.dataclass(frozen=True)
class Connection:
    """How the laptop's ssh reaches the login node.

    :param host: what ssh is told: a name, an address or an alias of ~/.ssh/config.
    :param options: (letter, value) pairs, without multiplexing and without what a tunnel sets itself.
    :param in_place: the playbook runs on the login node; commands are for a laptop we can't see.
    :param masters: where a connection may be open that Ansible and a person share (ControlPath).
    """

    host: str
    user: str | None = None
    port: int | None = None
    executable: str = "ssh"
    options: tuple[tuple[str, str | None], ...] = ()
    in_place: bool = False
    masters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, value in (("host", self.host), ("user", self.user or "x")):
            # A name that starts with a dash would be an option.
            if not re.match(r"\A[A-Za-z0-9_\[][^\s\x00-\x1f\x7f]*\Z", value):
                raise BadConnection(f"{value!r} is no {what} for ssh")
        if self.port is not None and not 0 < self.port < 65536:
            raise BadConnection(f"{self.port!r} is no port")

    @classmethod
    def from_arguments(
        cls,
        host: str,
        user: str | None = None,
        port: int | None = None,
        *arguments: str,
        identity: str | None = None,
        executable: str = "ssh",
        in_place: bool = False,
    ) -> Connection:
        """Build a connection from ssh arguments in the shell's spelling.

        :param arguments: strings such as ``-o ProxyJump=gate -F "my config"``, split as a shell would.
        :raises BadConnection: when they can't be split or hold no options.
        """
        options = []
        try:
            words = [word for text in arguments for word in shlex.split(text or "")]
        except ValueError as error:
            raise BadConnection(f"the ssh arguments of the inventory can't be split: {error}") from error
        for letter, value in _parse(words):
            if letter == "l":
                user = user or value
            elif letter == "p":
                port = port or int(value) if value.isdigit() else port
            elif letter == "o" and _keyword(value)[0] in _NOT_OURS:
                continue
            elif letter in "SMOLRDWNfnTtgsQGVAXYw":
                # What a tunnel does by itself, and what it never does: hand on the agent or the display.
                continue
            elif (letter, value) not in options:
                options.append((letter, value))
        if identity:
            options.append(("i", identity))
        return cls(
            host=host,
            user=user or None,
            port=int(port) if port else None,
            executable=executable or "ssh",
            options=tuple(options),
            in_place=in_place,
        )

    @classmethod
    def from_task(cls, task_vars: Mapping[str, object], connection: object) -> Connection:
        """Build it from what Ansible used for this host.

        :param task_vars: the action's variables, for those of ``LOGIN_VARIABLES`` (templated) when the playbook runs in place.
        :param connection: the task's connection plugin.
        :raises BadConnection: for connections that are neither ssh nor local, and for nonsense in the variables.
        """
        kind = str(getattr(connection, "transport", "")).rpartition(".")[2]
        if kind in ("ssh", "paramiko", "paramiko_ssh"):
            if kind != "ssh":
                raise BadConnection("a tunnel needs the connection plugin 'ssh'. Set ansible_connection to ssh.")
            option = connection.get_option
            ssh_args = option("ssh_args") or ""
            if ssh_args == ANSIBLE_DEFAULT_SSH_ARGS:
                ssh_args = ""
            identity = option("private_key_file")
            made = cls.from_arguments(
                str(option("host") or task_vars.get("inventory_hostname", "")),
                _text(option("remote_user")),
                option("port"),
                ssh_args,
                str(option("ssh_common_args") or ""),
                str(option("ssh_extra_args") or ""),
                identity=os.path.abspath(os.path.expanduser(identity)) if identity else None,
                executable=str(option("ssh_executable") or "ssh"),
            )
            return dataclasses.replace(made, masters=_masters(connection))
        if kind == "local":
            host = _text(task_vars.get("jupyter_login_host")) or socket.getfqdn()
            port = _text(task_vars.get("jupyter_login_port"))
            if port and not port.isdecimal():
                raise BadConnection(f"jupyter_login_port is {port!r}, which is no number of a port.")
            return cls.from_arguments(
                host,
                _text(task_vars.get("jupyter_login_user")) or _own_name(),
                int(port) if port else None,
                _text(task_vars.get("jupyter_login_ssh_args")) or "",
                in_place=True,
            )
        raise BadConnection(
            f"a tunnel needs the connection plugin 'ssh', or 'local' on the login node itself, and not {kind!r}. "
            "Set ansible_connection."
        )

    @property
    def destination(self) -> str:
        """What ssh is told to connect to."""
        return f"{self.user}@{self.host}" if self.user else self.host

    @property
    def master(self) -> str | None:
        """The control path of the connection that this one shares, if it does."""
        for letter, value in self.options:
            if letter == "o" and value and _keyword(value)[0] == "controlpath":
                return _keyword(value)[1]
        return None

    def sharing(self, path: str) -> Connection:
        """Return this connection by way of a master that is open: it asks nothing, and does without one that is gone."""
        return dataclasses.replace(self, options=(("o", f"ControlPath={path}"), ("o", "ControlMaster=no"), *self.options))

    def of_another(self, user: str) -> Connection:
        """Return how another user most likely reaches the same host: with the gates on the way, without this one's keys and files."""
        gates = tuple((letter, value) for letter, value in self.options
                      if letter == "J" or letter == "o" and value and _keyword(value)[0] in _OF_ONE_HOST - {"user", "localcommand", "remotecommand"})
        return dataclasses.replace(self, user=user, options=gates, masters=())

    def opening(self, path: str) -> list[str]:
        """Return the command by which a person opens a master, answering whatever it asks."""
        return self.arguments("-f", "-N", "-M", "-o", "ControlPersist=no", "-o", "ServerAliveInterval=15", "-o", f"ControlPath={path}")

    def live_master(self) -> str | None:
        """Return the control path of a master that is open and answers: Ansible's, or that of the user's ssh_config."""
        named = (path if "%" not in path else self._resolved("-o", f"ControlPath={path}") for path in self.masters)
        for path in (*named, self._configured_master()):
            if path and os.path.exists(path) and self._run(self.arguments("-S", path, "-O", "check")).returncode == 0:
                return path
        return None

    def logs_in_alone(self, patience: float = 10.0) -> bool:
        """Tell whether a connection of its own, shared with nobody, can be made without asking anything."""
        argv = self.arguments("-a", "-x", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "ControlPath=none")
        return self._run([*argv, "true"], patience).returncode == 0

    def _configured_master(self) -> str | None:
        return self._resolved()

    def _resolved(self, *options: str) -> str | None:
        """Return the control path that ssh itself makes of its configuration and these options, None for none."""
        shown = self._run(self.arguments(*options, "-G")).stdout
        path = next((line.split(None, 1)[1] for line in shown.splitlines() if line.lower().startswith("controlpath ")), "none")
        return None if path == "none" else os.path.expanduser(path)

    @staticmethod
    def _run(argv: list[str], patience: float = 5.0) -> subprocess.CompletedProcess:
        try:
            return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return subprocess.CompletedProcess(argv, 255, "", "")

    @property
    def site(self) -> str:
        """A key for what is remembered of this site: two clusters may call their login nodes the same, and lie behind different gates."""
        way = [f"{letter} {value}" for letter, value in self.options
               if letter in "FJ" or letter == "o" and value and _keyword(value)[0] in _OF_ONE_HOST]
        gate = "," + hashlib.sha256("\n".join(way).encode()).hexdigest()[:8] if way else ""
        return f"{self.destination}:{self.port or 22}{gate}"

    def arguments(self, *extra: str) -> list[str]:
        """Return the argument list of an ssh to the login node, its destination last, ``extra`` before that."""
        argv = [self.executable, *self._flat(self.options)]
        if self.port:
            argv += ["-p", str(self.port)]
        return [*argv, *extra, self.destination]

    def second_hop(self, node: str, *extra: str) -> list[str]:
        """Return the argument list of an ssh through the login node to a node.

        ``-J`` hands the jump only user, port and ``-F``; with keys or options of our own the jump is spelled out as a
        ProxyCommand. It names node and port itself: ``%h`` could be read as a variable by cmd.exe.

        :raises BadConnection: for a node name that could be read as an option.
        """
        if not HOST_NAME.match(node):
            raise BadConnection(f"{node!r} is no host name")
        target = f"{self.user}@{node}" if self.user else node
        config = [(letter, value) for letter, value in self.options if letter == "F"]
        jumps = [value for letter, value in self.options if letter == "J"]
        simple = all(letter in "FJ" for letter, _value in self.options) and len(jumps) <= 1
        if simple:
            host = f"[{self.host}]" if ":" in self.host else self.host
            login = (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")
            return [self.executable, *self._flat(config), "-J", ",".join([*jumps, login]), *extra, target]
        proxy = self.arguments("-W", f"[{node}]:22" if ":" in node else f"{node}:22")
        kept = [
            (letter, value)
            for letter, value in self.options
            if letter != "J" and not (letter == "o" and _keyword(value)[0] in _OF_ONE_HOST | _MULTIPLEXING)
        ]
        # ssh hands a ProxyCommand to the user's shell, after expanding %; a literal one is doubled.
        command = shlex.join(proxy).replace("%", "%%")
        return [self.executable, *self._flat(kept), "-o", f"ProxyCommand={command}", *extra, target]

    @staticmethod
    def _flat(options: Iterable[tuple[str, str | None]]) -> list[str]:
        flat: list[str] = []
        for letter, value in options:
            flat += [f"-{letter}"] if value is None else [f"-{letter}", value]
        return flat


def _masters(connection: object) -> tuple[str, ...]:
    """Return the control path that Ansible shares its connections by, none where its arguments switch that off."""
    option = connection.get_option
    arguments = " ".join(str(option(name) or "") for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"))
    try:
        values = [value for letter, value in _parse(shlex.split(arguments)) if letter == "o"]
    except (BadConnection, ValueError):
        return ()
    given = dict(map(_keyword, reversed(values)))
    if "controlpath" in given:
        # Tokens such as %C may be in it: what they stand for, ssh itself says (live_master).
        return (os.path.expanduser(given["controlpath"]),)
    if "controlpersist" not in given:
        return ()
    path = option("control_path")
    if not path:
        # Ansible tells nobody else; a core that names it in another way has no master to share, and that is all.
        name = getattr(connection, "_create_control_path", None)
        path = name(connection.host, connection.port, connection.user) if name else ""
    if not path:
        return ()
    return (path % {"directory": os.path.expandvars(os.path.expanduser(option("control_path_dir")))},)


def _text(value: object) -> str | None:
    return str(value) if value not in (None, "") else None


def _own_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def alone(argv: Sequence[str]) -> list[str]:
    """Return a tunnel's command with a connection of its own, unless it is meant to share one.

    Where the user's ssh_config shares connections, the forward would otherwise stay with the other one after Ctrl-C.
    """
    shares = any(word.startswith("ControlPath=") for word in argv)
    return list(argv) if shares or not argv else [argv[0], "-S", "none", *argv[1:]]


def as_posix(argv: Sequence[str]) -> str:
    """Write a command for sh, bash, zsh or fish."""
    return shlex.join(argv)


# A bare word that PowerShell and cmd.exe both leave alone. Not "~" (newer PowerShells expand it), not "," (an array), not
# "@" or "-" with a dot or colon (PowerShell splits "-o:x" and "-a.b").
_BARE = re.compile(r"\A(?:--?[A-Za-z]+|[A-Za-z0-9_./][A-Za-z0-9_./:=@-]*)\Z")
# Within double quotes PowerShell expands "$" and "`", cmd.exe "%" and with delayed expansion "!"; they escape a double
# quote in different ways, and PowerShell takes the typographic quotes for double quotes too.
_TROUBLE = re.compile("[\"$`%!\r\n\x00\u201c\u201d\u201e]")


def as_windows(argv: Sequence[str]) -> str:
    """Write a command that PowerShell and cmd.exe hand to Windows' OpenSSH alike.

    :raises Unquotable: for a word with a character that the two treat differently.
    """
    words = []
    for number, word in enumerate(argv):
        if number == 0:
            # Whatever path this laptop's ssh has: there it is found by name.
            word = os.path.basename(word)
        trouble = _TROUBLE.search(word)
        if trouble:
            raise Unquotable(f"{word!r} holds {trouble.group()!r}, which PowerShell and cmd.exe read differently")
        if word.startswith("ProxyCommand=") and "'" in word:
            raise Unquotable(f"{word!r} holds quotes within quotes, which Windows' ssh would not take off")
        if _BARE.match(word):
            words.append(word)
        else:
            # A backslash before the closing quote would escape it.
            tail = len(word) - len(word.rstrip("\\"))
            words.append('"' + word + "\\" * tail + '"')
    return " ".join(words)
