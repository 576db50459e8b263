# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords and login cookies: nothing starts without the one, and the other does not outlive a change of it."""

from __future__ import annotations

import hashlib
import json
import pathlib
import ssl
import urllib.error
import urllib.request

from harness import PASSWORD, Cluster, Controller, free_port, typed, until
from kernel_client import Jupyter
from users import home_of, running

CLASSIC = "notebook-classic"
NEW_PASSWORD = "Zr3-another-one-of-hers"
COOKIE = "username-"
NODE, PORT = "node2", 8766  # of the plain notebook


def believes(url: str, cookie: str, authority: str | None = None) -> bool:
    """Whether a server lets somebody with a login cookie in."""
    context = ssl.create_default_context(cafile=authority) if url.startswith("https") else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else []))
    try:
        opener.open(urllib.request.Request(url + "api/contents?content=0", headers={"Cookie": cookie}), timeout=30).read()
    except urllib.error.HTTPError as error:
        assert error.code == 403
        return False
    return True


def login_cookie(url: str, password: str, authority: str | None = None) -> str:
    client = Jupyter(url, password, authority)
    return next(f"{cookie.name}={cookie.value}" for cookie in client.jar if cookie.name.startswith(COOKIE))


def test_a_cookie_from_before_a_change_of_the_password_is_worth_nothing(account, collections, tmp_path):
    laptop = Controller(tmp_path, collections, account.inventory, {
        "jupyter_modules": [CLASSIC], "jupyter_walltime": "00:10:00", "jupyter_local_port": free_port(), "jupyter_tunnel": "open"})
    laptop.run("setup", jupyter_password=PASSWORD).succeeded()
    session = laptop.run("launch").succeeded().of("session")
    url = session["tunnel"]["url"]
    cookie = login_cookie(url, PASSWORD)
    assert session["flavour"] == "notebook" and believes(url, cookie)
    laptop.run("stop").succeeded()
    laptop.run("setup", jupyter_password=NEW_PASSWORD).succeeded()
    # By hand, with a cookie secret that outlives the change, the old cookie still opens everything.
    assert believes_by_hand(account, tmp_path)
    again = laptop.run("launch").succeeded().of("session")["tunnel"]["url"]
    assert again == url, "the cookie is of this address"
    assert not believes(again, cookie)
    assert believes(again, login_cookie(again, NEW_PASSWORD))


def believes_by_hand(account: Cluster, directory: pathlib.Path) -> bool:
    """Start a plain notebook before and after a change of its password; whether it takes the cookie from before."""
    port = free_port()
    serve = (f"module load {CLASSIC}; umask 077; mkdir -p ~/plain; export JUPYTER_CONFIG_DIR=$HOME/plain JUPYTER_RUNTIME_DIR=$HOME/plain;"
             f" exec jupyter notebook --no-browser --ip=0.0.0.0 --port={PORT} --NotebookApp.token=''"
             " --NotebookApp.cookie_secret=the-same-for-good --NotebookApp.password=sha1:0123456789ab:{}")
    tunnel = {"command": f"ssh -F {account.ssh_config} -N -L 127.0.0.1:{port}:{NODE}:{PORT} login",
              "url": f"http://127.0.0.1:{port}/"}
    taken = []
    for password in (PASSWORD, NEW_PASSWORD):
        digest = hashlib.sha1((password + "0123456789ab").encode()).hexdigest()
        with running(account, "carol", NODE, serve.format(digest), directory / "plain.log"), typed(tunnel, directory / "ssh.log"):
            taken.append(login_cookie(tunnel["url"], password))
            if password == NEW_PASSWORD:
                return believes(tunnel["url"], taken[0])
    return False


def test_without_a_password_nothing_starts(account, collections, tmp_path):
    laptop = Controller(tmp_path, collections, account.inventory, {"jupyter_modules": ["jupyterlab"], "jupyter_walltime": "00:10:00"})
    for given in ({}, {"jupyter_password": ""}):
        assert "password" in laptop.run("setup", **given).failed().message
    assert "not set up yet" in laptop.run("launch").failed().message
    # Set up once, and its password lost since.
    laptop.run("setup", jupyter_password=PASSWORD).succeeded()
    account.shell("rm ~/.jupyter/jupyter_*_config.json")
    assert "password" in laptop.run("launch").failed().message
    assert account.jobs() == []
    # Submitted by hand, nobody looks; a server that starts then knows a token that nobody else does.
    account.shell("sbatch ~/.jupyter/batch/jupyter.slurm")
    server = home_of(account, "carol") / ".jupyter/batch/sessions/default/server.json"
    state = until(lambda: server.exists() and (facts := json.loads(server.read_text()))["phase"] in ("ready", "failed") and facts, "the server")
    if state["phase"] == "ready":
        port = free_port()
        tunnel = {"command": f"ssh -F {account.ssh_config} -N -L 127.0.0.1:{port}:{state['endpoint']['path']} {state['node']}",
                  "url": f"http://127.0.0.1:{port}/"}
        with typed(tunnel, tmp_path / "ssh.log"):
            assert not believes(tunnel["url"], "none=none")
