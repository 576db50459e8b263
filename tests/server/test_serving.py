# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers of three generations under the keeper: reached as a browser does, closed to strangers, gone at the end."""

import json
import os
import shutil
import signal
import socket
import ssl

import pytest
import websocket
from harness import PASSWORD, hashed_in_config, wait_for

KINDS = ["lab", "classic", "old"]
ENDPOINTS = [("lab", "socket"), ("classic", "socket"), ("lab", "tls"), ("classic", "tls"), ("old", "tls")]
LOOK = """
import os, json
print(json.dumps([os.uname()[1], os.environ.get("XDG_RUNTIME_DIR"), os.environ["JUPYTER_RUNTIME_DIR"], os.umask(0o077), os.getcwd()]))
"""


@pytest.mark.parametrize("kind, endpoint", ENDPOINTS)
def test_a_cell_runs_and_strangers_stay_out(serve, certificates, kind, endpoint):
    server = serve(kind, certificates(), endpoint=endpoint if kind != "old" else "auto")
    os.chmod(server.directory, 0o755)
    state = server.await_ready(XDG_RUNTIME_DIR="/run/user/0", JUPYTER_TOKEN="", JUPYTER_PORT="1")
    assert state["endpoint"]["kind"] == endpoint
    assert (state["flavour"], state["version_jupyter"].split(".")[0]) == {
        "lab": ("jupyter_server", "2"), "classic": ("notebook", "6"), "old": ("notebook", "5")}[kind]

    status, headers, body = server.request("GET", "/api", token=False)
    assert (status, headers["X-Jupyter-Session"]) == (200, server.id)
    assert json.loads(body)["version"] == state["version_jupyter"]
    for path in ("/api/contents", "/api/kernels", "/api/sessions", "/api/terminals"):
        assert server.request("GET", path, token=False)[0] in (401, 403), path
    assert server.request("POST", "/api/shutdown", token=False)[0] in (401, 403)

    host, runtime_dir, jupyter_runtime, umask, cwd = json.loads(server.run(LOOK))
    assert (host, runtime_dir, umask, cwd) == (socket.gethostname(), None, 0o077, str(server.root))
    assert jupyter_runtime.startswith(str(server.scratch))
    kernel = server.json("GET", "/api/kernels")[0]["id"]
    with pytest.raises(websocket.WebSocketBadStatusException):
        websocket.create_connection("ws://127.0.0.1/api/kernels/%s/channels" % kernel, socket=server.connect(), timeout=20)

    for path, mode in server.modes().items():
        assert mode & 0o077 == 0, path
    token = server.token().encode()
    for pid, (argv, environment) in server.processes().items():
        assert token not in argv + environment, pid
    assert server.token() not in server.log()
    # The kernel's own ports are sockets in that private directory: nobody else on the node has anything to connect to.
    connections = list(server.scratch.glob("jupyter-*/r/kernel-*.json"))
    assert [json.loads(path.read_text())["transport"] for path in connections] == ["ipc"]

    server.process.terminate()
    assert server.await_exit() == 128 + signal.SIGTERM
    assert (server.state()["phase"], server.state()["cause"]) == ("ended", "signal")
    assert list(server.scratch.iterdir()) == []
    assert not (server.directory / "config").exists()
    wait_for(lambda: not server.processes(), "the end of every process")


@pytest.mark.parametrize("kind, endpoint", ENDPOINTS)
def test_the_users_password_holds_and_so_does_the_login_after_a_renewal(serve, certificates, kind, endpoint):
    server = serve(kind, certificates(), endpoint=endpoint)
    hashed_in_config(server, kind)
    server.await_ready()
    assert server.cookies_of_login("wrong") is None
    cookies = server.cookies_of_login(PASSWORD)
    assert server.request("GET", "/api/contents", headers={"Cookie": cookies}, token=False)[0] == 200
    server.process.terminate()
    server.await_exit()
    (server.directory / "server.json").unlink()
    server.await_ready()
    assert server.request("GET", "/api/contents", headers={"Cookie": cookies}, token=False)[0] == 200
    server.process.terminate()
    server.await_exit()
    # New settings, most of all a new password, end every login.
    name = "jupyter_server_config.json" if kind == "lab" else "jupyter_notebook_config.json"
    (server.config / name).write_text((server.config / name).read_text() + "\n")
    (server.directory / "server.json").unlink()
    server.await_ready()
    assert server.request("GET", "/api/contents", headers={"Cookie": cookies}, token=False)[0] in (401, 403)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_certificate_changes_nothing_of_a_running_server(serve, certificates, kind):
    files, renewed = certificates(), certificates()
    server = serve(kind, files, endpoint="tls")
    first = server.await_ready()["endpoint"]["fingerprint"]
    for name, path in files.items():
        shutil.copy(renewed[name], path)
    # Each request checks what the server shows against the fingerprint in server.json.
    assert server.request("GET", "/api", token=False)[0] == 200
    copies = [path for path in server.scratch.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert [path.stat().st_mode & 0o777 for path in copies] == [0o600]
    server.process.terminate()
    server.await_exit()
    assert list(server.scratch.iterdir()) == []
    (server.directory / "server.json").unlink()
    assert server.await_ready()["endpoint"]["fingerprint"] != first
    assert server.request("GET", "/api", token=False)[0] == 200


@pytest.mark.parametrize("listen", ["loopback", "node"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_speaks_tls_1_2_or_later_and_nothing_else(serve, certificates, kind, listen):
    server = serve(kind, certificates(), endpoint="tls" if listen == "loopback" else "auto", listen=listen)
    # A machine whose name is only an alias of the loopback finds its address by the way to the login node.
    endpoint = server.await_ready(SLURM_SUBMIT_HOST="198.51.100.1")["endpoint"]
    assert endpoint["kind"] == "tls" and endpoint["address"].startswith("127.") == (listen == "loopback")
    status, headers, _body = server.request("GET", "/api", token=False)
    assert (status, headers["X-Jupyter-Session"]) == (200, server.id)
    assert server.request("GET", "/api/contents", token=False)[0] in (401, 403)
    if listen == "node":  # its port is on that address alone
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", endpoint["port"]), 10)

    def shake_hands(version):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        return context.wrap_socket(socket.create_connection((endpoint["address"], endpoint["port"]), 10)).version()
    assert shake_hands(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(version)
    with socket.create_connection((endpoint["address"], endpoint["port"]), 10) as plain:
        plain.sendall(b"GET /api HTTP/1.0\r\n\r\n")
        try:
            assert b"200" not in plain.recv(4096)
        except ConnectionError:
            pass


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_shown_from_the_directory_of_the_users_own_settings_unless_a_launch_asks_for_another(serve, certificates, kind, tmp_path):
    def shown(server):
        server.await_ready()
        return {entry["name"] for entry in server.json("GET", "/api/contents")["content"]}

    for asked, configured, wanted in ((None, "mine", "own.txt"), (None, "gone", "notebooks"), ("~/notebooks", "mine", "asked.txt")):
        server = serve(kind, certificates(), root_dir=asked)
        (server.root / "asked.txt").touch()
        own = server.home / configured
        (server.home / "mine").mkdir()
        (server.home / "mine" / "own.txt").touch()
        settings = {"ServerApp": {"root_dir": str(own)}, "NotebookApp": {"notebook_dir": str(own)}}
        for name, section in (("jupyter_server_config.json", "ServerApp"), ("jupyter_notebook_config.json", "NotebookApp")):
            (server.config / name).write_text(json.dumps({section: settings[section]}))
        assert wanted in shown(server)
        server.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_the_users_own_settings_can_neither_break_nor_open_it(serve, certificates, kind):
    server = serve(kind, certificates())
    hostile = {"port": 1, "ip": "0.0.0.0", "certfile": "/nonexistent", "sock": "/nonexistent/sock", "token": "", "base_url": "/elsewhere/",
               "port_retries": 9, "open_browser": True, "cookie_secret_file": "/nonexistent/secret"}
    hostile["tornado_settings"] = {"headers": {"X-From-The-User": "kept"}}
    for name in ("jupyter_server_config.json", "jupyter_notebook_config.json", "jupyter_lab_config.json"):
        (server.config / name).write_text(json.dumps({"ServerApp": hostile, "NotebookApp": hostile, "IdentityProvider": {"token": ""}}))
    # Old versions read settings of the working directory before all others.
    for name in ("jupyter_server_config.py", "jupyter_notebook_config.py"):
        (server.root / name).write_text("c.ServerApp.port = c.NotebookApp.port = 2\nc.ServerApp.token = c.NotebookApp.token = ''\n")
    # Nor may a file that a user happens to have there stand in for a package.
    (server.root / "tornado.py").write_text("raise RuntimeError('not the real one')")
    server.await_ready()
    status, headers, _body = server.request("GET", "/api", token=False)
    assert (status, headers["X-Jupyter-Session"], headers["X-From-The-User"]) == (200, server.id, "kept")
    assert server.request("GET", "/api/contents", token=False)[0] in (401, 403)
    assert server.request("GET", "/api/contents")[0] == 200


@pytest.mark.parametrize("kind", KINDS)
def test_stop_ends_the_kernels_too(serve, certificates, kind):
    server = serve(kind, certificates())
    server.await_ready()
    assert server.run("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(6 * 7)") == "42\n"
    before = server.processes()
    assert len(before) >= 3
    server.control({"stop": True})
    assert server.await_exit() == 0
    state = server.state()
    assert (state["phase"], state["cause"]) == ("ended", "stop")
    wait_for(lambda: not server.processes(), "the end of every process")


def test_a_killed_keeper_leaves_no_server_and_the_next_start_works(serve, scratch):
    server = serve("lab", {})
    first = server.await_ready()["endpoint"]["path"]
    server.process.kill()
    server.await_exit()
    wait_for(lambda: not server.processes(), "the end of the server without its keeper")
    assert os.path.lexists(first)
    (server.directory / "server.json").unlink()
    second = server.await_ready()["endpoint"]["path"]
    assert server.request("GET", "/api", token=False)[0] == 200
    assert [str(path) for path in scratch.iterdir()] == [os.path.dirname(second)]


def test_sigterm_for_the_whole_job_is_no_clean_end(serve):
    # The scheduler signals every process; a server that ends first must not look like one that the user shut down.
    server = serve("lab", {})
    state = server.await_ready()
    os.killpg(state["pid"], signal.SIGTERM)
    os.killpg(server.process.pid, signal.SIGTERM)
    assert server.await_exit() == 143
    assert server.state()["phase"] == "ended"


def test_shut_down_in_the_browser_is_a_clean_end(serve):
    server = serve("lab", {})
    server.await_ready()
    os.kill(server.process.pid, signal.SIGHUP)
    server.json("POST", "/api/shutdown", {})
    assert server.await_exit() == 0
    assert (server.state()["phase"], server.state()["cause"]) == ("ended", "shutdown")


def test_a_killed_server_is_noticed(serve):
    server = serve("lab", {})
    os.kill(server.await_ready()["pid"], signal.SIGKILL)
    assert server.await_exit(10) == 1
    state = server.state()
    assert (state["phase"], state["cause"]) == ("failed", "killed")
    assert "jupyter_memory" in state["reason"]


def test_it_moves_to_another_endpoint_unless_kernels_would_be_lost(serve, certificates):
    server = serve("lab", certificates())
    server.await_ready()
    server.run("pass")
    server.control({"endpoint": "tls"})
    refused = wait_for(lambda: server.state().get("control"), "the answer to the order")
    assert "kernel" in refused["refused"] and server.state()["endpoint"]["kind"] == "socket"
    server.control({"endpoint": "tls", "force": True})
    wait_for(lambda: server.state()["phase"] == "ready" and server.state()["endpoint"]["kind"] == "tls", "the new endpoint")
    assert server.request("GET", "/api", token=False)[1]["X-Jupyter-Session"] == server.id
    assert server.run("print(1)") == "1\n"
