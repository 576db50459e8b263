# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real servers print when they can't start is understood, and said within seconds."""

import os
import subprocess
import sys
import time

import pytest

KINDS = ["lab", "classic", "old"]


def assert_it_fails(server, cause, *words, **environment):
    started = time.monotonic()
    server.start(**environment)
    assert server.await_exit() == 1
    state = server.state()
    assert (state["phase"], state["cause"]) == ("failed", cause), server.log()
    for word in words:
        assert word in state["reason"]
    assert len(state.get("log_tail", [])) <= 15
    assert list(server.scratch.iterdir()) == [] and not (server.directory / "config").exists() and not server.processes()
    return time.monotonic() - started


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_option(serve, certificates, kind):
    server = serve(kind, certificates(), settings={"ServerApp": {"terminals_enabled": "perhaps"}})
    assert_it_fails(server, "bad-option", "jupyter_settings", "terminals_enabled")


@pytest.mark.parametrize("kind", KINDS)
def test_a_library_is_missing(serve, certificates, tmp_path, kind):
    (tmp_path / "zmq.py").write_text("raise ImportError('libzmq.so.5: cannot open shared object file: No such file or directory')\n")
    server = serve(kind, certificates())
    assert_it_fails(server, "import-error", "jupyter_modules", PYTHONPATH=str(tmp_path))


def test_no_jupyter_at_all(serve, tmp_path):
    subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")])
    server = serve(tmp_path / "bare" / "bin" / "python", {})
    took = assert_it_fails(server, "jupyter-missing", "jupyter_modules", "jupyter_install: true", PYTHONPATH=None)
    assert took < 5


def test_a_directory_that_does_not_exist(serve):
    assert_it_fails(serve("lab", {}, root_dir="~/nowhere"), "bad-option", "jupyter_root_dir")


def test_a_socket_asked_of_a_server_that_has_none(serve):
    assert_it_fails(serve("old", {}, endpoint="socket"), "socket", "jupyter_endpoint")


def test_tls_without_a_certificate(serve):
    assert_it_fails(serve("lab", {}, endpoint="tls", certfile="~/.jupyter/none.crt"), "certificate", "setup")


@pytest.mark.parametrize("name, code", [
    ("jupyter_server_config.py", "from jupyter_server.auth.identity import IdentityProvider, User\n"
                                 "IdentityProvider.get_user = lambda self, handler: User('anybody')\n"),
])
def test_settings_that_open_the_server_to_anybody(serve, name, code):
    server = serve("lab", {})
    (server.config / name).write_text(code)
    assert_it_fails(server, "open-server", "~/.jupyter")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_home(serve, certificates, kind):
    server = serve(kind, certificates())
    config = server.directory / "config"
    config.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", str(config)], stderr=subprocess.DEVNULL, check=False)
    if mounted.returncode:
        pytest.skip("a full file system needs root")
    try:
        with open(config / "full", "wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                filler.write(b"x" * 4096)
        server.start()
        assert server.await_exit() == 1
        assert server.state()["cause"] == "disk-full"
    finally:
        subprocess.run(["umount", str(config)], check=True)


def test_a_path_too_long_for_a_socket_finds_a_shorter_one(serve, scratch):
    server = serve("lab", {})
    long = scratch / ("x" * 100)
    long.mkdir()
    path = server.await_ready(TMPDIR=str(long))["endpoint"]["path"]
    assert len(os.fsencode(path)) <= 107 and not path.startswith(str(long))


def test_a_directory_open_to_others_is_not_used(serve, scratch):
    os.chmod(scratch, 0o777)
    server = serve("lab", {})
    assert not server.await_ready()["endpoint"]["path"].startswith(str(scratch))
