# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The places where browsers and systems keep the authorities that they trust."""

from __future__ import annotations

import abc
import os
import pathlib
import re
import shutil
import typing

_CERTUTIL_HINT = (
    "certutil is missing. Install it (Debian and Ubuntu: libnss3-tools, Fedora and RHEL: nss-tools, SUSE: mozilla-nss-tools, "
    "macOS: 'brew install nss') and run this again, or import the file by hand (docs/certificates.md)"
)
# Where Linux browsers keep the user's own certificates: plain, as a snap, as a flatpak.
_CHROMIUM_STORES = (
    ".pki/nssdb",
    ".local/share/pki/nssdb",
    "snap/chromium/current/.pki/nssdb",
    ".var/app/org.chromium.Chromium/.pki/nssdb",
    ".var/app/com.google.Chrome/.pki/nssdb",
    ".var/app/com.brave.Browser/.pki/nssdb",
    ".var/app/com.microsoft.Edge/.pki/nssdb",
)
_CHROMIUM_COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser", "microsoft-edge", "vivaldi")
_FIREFOX_PROFILES = (
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
    ".librewolf",
    "Library/Application Support/Firefox/Profiles",
)
# Where a system takes local authorities from, and what makes it read them.
_SYSTEM_STORES = (
    ("/usr/local/share/ca-certificates", ("update-ca-certificates",), ("update-ca-certificates", "--fresh")),
    ("/etc/pki/ca-trust/source/anchors", ("update-ca-trust", "extract"), ("update-ca-trust", "extract")),
    ("/etc/pki/trust/anchors", ("update-ca-certificates",), ("update-ca-certificates",)),
    ("/etc/ca-certificates/trust-source/anchors", ("update-ca-trust", "extract"), ("update-ca-trust", "extract")),
)


class StoreError(Exception):
    """A store could not be read or changed; the message says why."""


class Completed(typing.NamedTuple):
    """What a command said."""

    rc: int
    out: str
    err: str


Run = typing.Callable[[list], Completed]


class Certificate(typing.NamedTuple):
    """An authority's certificate as the tools want it."""

    name: str
    path: str
    pem: str
    sha1: str


class Store(abc.ABC):
    """One place that holds trusted authorities.

    :param run: runs a command given as a list and returns a Completed.
    :param path: what to show of it.
    """

    kind: str

    def __init__(self, run: Run, path: str):
        self.path = path
        self._run = run

    @abc.abstractmethod
    def has(self, certificate: Certificate) -> bool:
        """Say whether the authority is trusted here."""

    @abc.abstractmethod
    def add(self, certificate: Certificate) -> None:
        """Trust it."""

    @abc.abstractmethod
    def remove(self, certificate: Certificate) -> None:
        """Trust it no more."""

    def _do(self, *argv: str) -> str:
        done = self._run(list(argv))
        if done.rc == 127:
            raise StoreError(_CERTUTIL_HINT if argv[0] == "certutil" else f"{argv[0]} is missing")
        if done.rc != 0:
            said = " ".join((done.err or done.out).split()) or f"exit status {done.rc}"
            raise StoreError(f"{os.path.basename(argv[0])}: {said}")
        return done.out


class NssStore(Store):
    """The database of Chromium and its kin, or of one Firefox profile."""

    def __init__(self, run: Run, path: str, kind: str):
        super().__init__(run, path)
        self.kind = kind
        self._database = f"sql:{path}"

    def has(self, certificate):
        if not os.path.exists(os.path.join(self.path, "cert9.db")):
            return False
        for line in self._do("certutil", "-L", "-d", self._database).splitlines():
            name, _blank, flags = line.rstrip().rpartition(" ")
            if name.strip() == certificate.name and "C" in flags.split(",")[0]:
                return self._pem(certificate) == _body(certificate.pem)
        return False

    def add(self, certificate):
        if not os.path.exists(os.path.join(self.path, "cert9.db")):
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            self._do("certutil", "-N", "-d", self._database, "--empty-password")
        self.remove(certificate)
        self._do("certutil", "-A", "-d", self._database, "-t", "C,,", "-n", certificate.name, "-i", certificate.path)

    def remove(self, certificate):
        # An authority made anew on the same day has the same name as the old one.
        while self._pem(certificate) is not None:
            self._do("certutil", "-D", "-d", self._database, "-n", certificate.name)

    def _pem(self, certificate) -> str | None:
        done = self._run(["certutil", "-L", "-d", self._database, "-n", certificate.name, "-a"])
        if done.rc == 127:
            raise StoreError(_CERTUTIL_HINT)
        return _body(done.out) if done.rc == 0 else None


class MacKeychain(Store):
    """The login keychain of macOS (Safari, Chrome, and Firefox from 120 on)."""

    kind = "macos"

    def has(self, certificate):
        done = self._run(["security", "find-certificate", "-a", "-Z", "-c", certificate.name, self.path])
        if done.rc != 0 or certificate.sha1.upper() not in done.out.upper():
            return False
        return certificate.name in self._run(["security", "dump-trust-settings"]).out

    def add(self, certificate):
        self._do("security", "add-trusted-cert", "-r", "trustRoot", "-p", "ssl", "-k", self.path, certificate.path)

    def remove(self, certificate):
        self._do("security", "remove-trusted-cert", certificate.path)
        self._do("security", "delete-certificate", "-Z", certificate.sha1.upper(), self.path)


class WindowsRoot(Store):
    """The user's root store of Windows, from inside WSL (Edge, Chrome, and Firefox from 120 on)."""

    kind = "windows"

    def __init__(self, run: Run, path: str, certutil: str):
        super().__init__(run, path)
        self._certutil = certutil

    def has(self, certificate):
        return self._run([self._certutil, "-user", "-verifystore", "Root", certificate.sha1]).rc == 0

    def add(self, certificate):
        windows_path = self._do("wslpath", "-w", certificate.path).strip()
        # Windows shows a dialog with the fingerprint and asks.
        self._do(self._certutil, "-user", "-addstore", "Root", windows_path)

    def remove(self, certificate):
        self._do(self._certutil, "-user", "-delstore", "Root", certificate.sha1)


class SystemStore(Store):
    """The authorities of a Linux system (curl, wget, Python's ssl, for all of its users)."""

    kind = "system"

    def __init__(self, run: Run, directory: str, update: tuple, update_after_removal: tuple):
        super().__init__(run, directory)
        self._update = update
        self._update_after_removal = update_after_removal

    def has(self, certificate):
        try:
            return pathlib.Path(self._file(certificate)).read_text(encoding="ascii") == certificate.pem
        except (OSError, ValueError):
            return False

    def add(self, certificate):
        self._do("sh", "-c", 'umask 022 && printf %s "$1" >"$2.new" && mv -f "$2.new" "$2"', "sh", certificate.pem, self._file(certificate))
        self._do(*self._update)

    def remove(self, certificate):
        self._do("rm", "-f", self._file(certificate))
        self._do(*self._update_after_removal)

    def _file(self, certificate) -> str:
        return os.path.join(self.path, f"hpc-jupyter-{certificate.sha1[:12]}.crt")


def find(kinds: typing.Collection[str], run: Run, home: pathlib.Path, root: pathlib.Path = pathlib.Path("/")) -> list[Store]:
    """Return the stores of some kinds that there are on this computer.

    :param kinds: of ``chromium``, ``firefox``, ``macos``, ``windows``, ``system``.
    :param home: of the user.
    :param root: of the file system.
    """
    stores: list[Store] = []
    if "chromium" in kinds:
        paths = [home / path for path in _CHROMIUM_STORES]
        found = [path for path in paths if (path / "cert9.db").exists()]
        # Made only where Chromium would make one itself: it prefers the first, which so would hide what the second holds.
        if not set(paths[:2]) & set(found) and any(shutil.which(command) for command in _CHROMIUM_COMMANDS):
            found.insert(0, paths[0])
        stores += [NssStore(run, str(path), "chromium") for path in found]
    if "firefox" in kinds:
        for directory in _FIREFOX_PROFILES:
            stores += [NssStore(run, str(path.parent), "firefox") for path in sorted((home / directory).glob("*/cert9.db"))]
    keychain = home / "Library" / "Keychains" / "login.keychain-db"
    if "macos" in kinds and keychain.exists():
        stores.append(MacKeychain(run, str(keychain)))
    if "windows" in kinds and _is_wsl(root):
        certutil = shutil.which("certutil.exe") or str(root / "mnt/c/Windows/System32/certutil.exe")
        if os.path.exists(certutil):
            stores.append(WindowsRoot(run, "Windows, current user, Root", certutil))
    if "system" in kinds:
        stores += [
            SystemStore(run, str(root / directory.lstrip("/")), *commands)
            for directory, *commands in _SYSTEM_STORES if (root / directory.lstrip("/")).is_dir()
        ][:1]
    return stores


def _is_wsl(root: pathlib.Path) -> bool:
    try:
        return "microsoft" in (root / "proc/version").read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False


def _body(pem: str) -> str:
    """Return the first certificate's base64 text without line breaks, which tools place differently."""
    match = re.search(r"-----BEGIN CERTIFICATE-----(.*?)-----END", pem, re.DOTALL)
    return "".join(match[1].split()) if match else ""
