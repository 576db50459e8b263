# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import os
import shutil
import subprocess

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate, trust


def run(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"}, check=False)
    except FileNotFoundError:
        return trust.Completed(127, "", "not found")
    return trust.Completed(done.returncode, done.stdout, done.stderr)


def describe(authority):
    return trust.Certificate(authority.name, str(authority.path), authority.pem, certificate.fingerprint(authority.pem, "sha1"))


@pytest.fixture
def authority(tmp_path):
    return describe(certificate.Authority.open(tmp_path / "ca"))


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder of stand-in commands that come first on PATH; each writes its arguments down."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")

    def tool(name, script=""):
        path = directory / name
        path.write_text(f'#!/bin/sh\nprintf "%s" "{name}" >>{tmp_path}/calls\nprintf " [%s]" "$@" >>{tmp_path}/calls\necho >>{tmp_path}/calls\n{script}\n')
        path.chmod(0o755)

    tool.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    return tool


needs_certutil = pytest.mark.skipif(not shutil.which("certutil"), reason="certutil (libnss3-tools) is not installed")


@needs_certutil
def test_a_new_nss_database_trusts_and_forgets(tmp_path, authority):
    store = trust.NssStore(run, str(tmp_path / "home" / "nssdb"), "chromium")
    assert not store.has(authority)
    store.add(authority)
    assert store.has(authority)
    assert os.stat(store.path).st_mode & 0o077 == 0
    listed = run(["certutil", "-L", "-d", f"sql:{store.path}"]).out
    assert [line.split()[-1] for line in listed.splitlines() if authority.name in line] == ["C,,"]
    store.remove(authority)
    assert not store.has(authority) and authority.name not in run(["certutil", "-L", "-d", f"sql:{store.path}"]).out


@needs_certutil
def test_what_else_is_in_the_database_stays(tmp_path, authority):
    store = trust.NssStore(run, str(tmp_path / "nssdb"), "firefox")
    other = describe(certificate.Authority.open(tmp_path / "other"))._replace(name="Somebody else's")
    store.add(other)
    store.add(authority)
    store.remove(authority)
    assert store.has(other)


@needs_certutil
def test_an_authority_made_anew_replaces_the_one_of_the_same_name(tmp_path, authority):
    store = trust.NssStore(run, str(tmp_path / "nssdb"), "firefox")
    anew = describe(certificate.Authority.open(tmp_path / "anew"))
    assert anew.name == authority.name
    store.add(authority)
    assert not store.has(anew)
    store.add(anew)
    assert store.has(anew) and not store.has(authority)


@needs_certutil
def test_an_authority_that_is_there_without_trust_is_none(tmp_path, authority):
    store = trust.NssStore(run, str(tmp_path / "nssdb"), "firefox")
    store.add(authority)
    assert run(["certutil", "-M", "-d", f"sql:{store.path}", "-n", authority.name, "-t", ",,"]).rc == 0
    assert not store.has(authority)
    store.add(authority)
    assert store.has(authority)


@needs_certutil
def test_a_damaged_database_is_told(tmp_path, authority):
    (tmp_path / "nssdb").mkdir()
    (tmp_path / "nssdb" / "cert9.db").write_text("nonsense")
    with pytest.raises(trust.StoreError, match="certutil: "):
        trust.NssStore(run, str(tmp_path / "nssdb"), "firefox").has(authority)


def test_a_missing_tool_names_its_package(tmp_path, authority):
    store = trust.NssStore(lambda argv: trust.Completed(127, "", "not found"), str(tmp_path), "chromium")
    with pytest.raises(trust.StoreError, match="libnss3-tools"):
        store.add(authority)


def test_the_stores_of_a_home_are_found(tmp_path, tools):
    home, root = tmp_path / "home", tmp_path / "root"
    for path in (".mozilla/firefox/a.default", ".mozilla/firefox/b.empty", "snap/firefox/common/.mozilla/firefox/c", "snap/chromium/current/.pki/nssdb"):
        (home / path).mkdir(parents=True)
        if not path.endswith("empty"):
            (home / path / "cert9.db").touch()
    (root / "usr/local/share/ca-certificates").mkdir(parents=True)
    kinds = ("chromium", "firefox", "macos", "windows", "system")
    found = {(store.kind, os.path.relpath(store.path, tmp_path)) for store in trust.find(kinds, run, home, root)}
    assert found - {("chromium", "home/.pki/nssdb")} == {
        ("chromium", "home/snap/chromium/current/.pki/nssdb"),
        ("firefox", "home/.mozilla/firefox/a.default"),
        ("firefox", "home/snap/firefox/common/.mozilla/firefox/c"),
        ("system", "root/usr/local/share/ca-certificates"),
    }
    tools("chromium")
    assert ("chromium", str(home / ".pki/nssdb")) in {(store.kind, store.path) for store in trust.find(("chromium",), run, home, root)}
    (home / ".local/share/pki/nssdb").mkdir(parents=True)
    (home / ".local/share/pki/nssdb/cert9.db").touch()
    assert {store.path for store in trust.find(("chromium",), run, home, root)} == {
        str(home / ".local/share/pki/nssdb"), str(home / "snap/chromium/current/.pki/nssdb")}
    assert {store.kind for store in trust.find(("firefox",), run, home, root)} == {"firefox"}


def test_the_keychain_of_macos(tmp_path, tools, authority):
    keychain = tmp_path / "home" / "Library" / "Keychains" / "login.keychain-db"
    keychain.parent.mkdir(parents=True)
    keychain.touch()
    (store,) = trust.find(("macos",), run, tmp_path / "home", tmp_path)
    tools("security", f'[ "$1" = find-certificate ] && echo "SHA-1 hash: {authority.sha1.upper()}"; exit 0')
    assert not store.has(authority)
    listed, settings = f'echo "SHA-1 hash: {authority.sha1.upper()}"', f'echo "Cert 0: {authority.name}"'
    tools("security", f'case "$1" in find-certificate) {listed};; dump-trust-settings) {settings};; esac')
    assert store.has(authority)
    store.add(authority)
    assert tools.calls()[-1] == f"security [add-trusted-cert] [-r] [trustRoot] [-p] [ssl] [-k] [{keychain}] [{authority.path}]"
    store.remove(authority)
    assert tools.calls()[-2:] == [
        f"security [remove-trusted-cert] [{authority.path}]",
        f"security [delete-certificate] [-Z] [{authority.sha1.upper()}] [{keychain}]",
    ]


def test_windows_from_inside_wsl(tmp_path, tools, authority):
    tools("certutil.exe", '[ "$2" != -verifystore ]')
    tools("wslpath", r"printf '%s\n' '\\wsl.localhost\Debian\ca.crt'")
    assert trust.find(("windows",), run, tmp_path, tmp_path) == []
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "version").write_text("Linux version 5.15.0-microsoft-standard-WSL2")
    (store,) = trust.find(("windows",), run, tmp_path, tmp_path)
    assert not store.has(authority)
    store.add(authority)
    assert tools.calls()[-1] == r"certutil.exe [-user] [-addstore] [Root] [\\wsl.localhost\Debian\ca.crt]"
    store.remove(authority)
    assert tools.calls()[-1] == f"certutil.exe [-user] [-delstore] [Root] [{authority.sha1}]"


def test_the_system_store(tmp_path, tools, authority):
    directory = tmp_path / "root" / "usr" / "local" / "share" / "ca-certificates"
    directory.mkdir(parents=True)
    tools("update-ca-certificates")
    (store,) = trust.find(("system",), run, tmp_path, tmp_path / "root")
    assert not store.has(authority)
    store.add(authority)
    (file,) = directory.iterdir()
    assert file.read_text() == authority.pem and file.stat().st_mode & 0o777 == 0o644 and file.suffix == ".crt"
    assert store.has(authority)
    store.remove(authority)
    assert list(directory.iterdir()) == [] and not store.has(authority)
    assert [call.split(" [")[1:] for call in tools.calls()] == [["]"], ["--fresh]"]]
    tools("update-ca-certificates", "echo no right >&2; exit 1")
    with pytest.raises(trust.StoreError, match="no right"):
        store.add(authority)


def test_only_a_limited_authority_may_be_trusted(tmp_path, authority):
    assert certificate.authority_to_trust(tmp_path / "ca") == authority.pem
    assert certificate.authority_to_trust(tmp_path / "none") is None
    (tmp_path / "ca" / "ca.key").unlink()
    assert certificate.authority_to_trust(tmp_path / "ca") == authority.pem
    subjects = {
        "unlimited": [],
        "partly": ["-addext", "nameConstraints=critical,permitted;DNS:localhost,permitted;IP:127.0.0.1/255.255.255.255"],
        "wide": ["-addext", "nameConstraints=critical,permitted;DNS:localhost,permitted;IP:127.0.0.0/255.0.0.0,"
                            "permitted;IP:::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
        "advisory": ["-addext", "nameConstraints=permitted;DNS:localhost,permitted;IP:127.0.0.1/255.255.255.255,"
                                "permitted;IP:::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    }
    for name, extension in subjects.items():
        (tmp_path / name).mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", os.devnull,
             "-out", str(tmp_path / name / "ca.crt"), *extension],
            check=True, capture_output=True)
        with pytest.raises(certificate.CertificateError, match="more than localhost"):
            certificate.authority_to_trust(tmp_path / name)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ca.crt").write_text("x")
    with pytest.raises(certificate.CertificateError):
        certificate.authority_to_trust(tmp_path / "broken")
