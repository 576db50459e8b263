# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One scenario for each kind of site: `auto` finds the way there is, and a cell is run through the command that it gives."""

from __future__ import annotations

import os
import pathlib
import time

import pytest
from harness import PASSWORD, Cluster, Controller, free_port, typed, until
from kernel_client import Jupyter

WHERE = "import socket; print(socket.gethostname())"


def started(name: str, shape: str, net: int) -> Cluster:
    """A cluster of this worker's own in a shape other than the default.

    :param net: the third number of its addresses, for the first worker.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    made = Cluster(f"{name}{worker}", f"10.85.{net + worker}")
    made.verb("up", "--fresh", "--net", made.net, "--shape", shape, timeout=900)
    return made


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, cluster: Cluster):
    """A cluster in the shape that the test names; the default one is there before, for it builds the software."""
    made = started("rs", request.param, 200)
    yield made
    made.verb("down")


@pytest.fixture
def person(site: Cluster, collections: str, tmp_path: pathlib.Path):
    """A laptop that is new to the site."""
    yield Controller(tmp_path, collections, site.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:10:00",
        "jupyter_local_port": free_port()})
    site.clear()


def cell(person: Controller, tunnel: dict, tmp_path: pathlib.Path, code: str = WHERE) -> str:
    """Type the emitted command, run a cell, and return what it printed."""
    with typed(tunnel, tmp_path / "ssh.log"):
        return Jupyter(tunnel["url"], PASSWORD, str(person.authority)).run(code).strip()


def launched(person: Controller, **variables) -> dict:
    return person.run("launch", **variables).succeeded().of("session")


@pytest.mark.parametrize("site, route", [("open", "relay"), ("login-path", "relay")], indirect=["site"])
def test_the_relay_is_taken_where_login_nodes_reach_their_nodes(site, person, tmp_path, route):
    person.run("setup").succeeded()
    result = launched(person)
    assert result["tunnel"]["route"] == route
    assert cell(person, result["tunnel"], tmp_path) == result["node"]
    # What was found is remembered: the second launch logs in for nothing but the session.
    again = launched(person)
    assert not again["changed"] and again["tunnel"] == result["tunnel"]


@pytest.mark.parametrize("site", ["jump-only"], indirect=True)
def test_the_jump_is_taken_where_sockets_are_not_forwarded(site, person, tmp_path):
    site.shell("echo 'AllowStreamLocalForwarding no' >>/etc/ssh/sshd_config; pkill -HUP -o sshd", "root")
    person.run("setup").succeeded()
    # A socket of the server's could be reached through the node's sshd, which is a host of its own.
    result = launched(person)
    assert result["tunnel"]["route"] == "jump"
    assert cell(person, result["tunnel"], tmp_path) == result["node"]


@pytest.mark.parametrize("site, route", [("direct-only", "direct"), ("reverse-only", "reverse")], indirect=["site"])
def test_a_step_of_the_job_carries_the_relay_and_where_that_is_taken_away_the_site_s_own_way_does(site, person, tmp_path, route):
    person.run("setup").succeeded()
    first = launched(person, jupyter_tunnel="open")
    assert first["tunnel"]["route"] == "relay" and first["tunnel"]["open"]
    assert Jupyter(first["tunnel"]["url"], PASSWORD, str(person.authority)).run(WHERE).strip() == first["node"]
    assert any("--overlap" in line for line in site.processes("carol"))
    # The site takes the steps away: what is remembered does not work any more, and the same launch finds what does.
    person.run("setup", jupyter_second_hop="ssh").succeeded()
    site.shell("pkill -f 'program.pyz connect'", "root")
    until(lambda: not site.processes("carol"), "the end of the relay")
    until(lambda: not kernels(site, first), "the end of the first kernel")
    run = person.run("launch", jupyter_tunnel="open").succeeded()
    second = run.of("session")
    assert "does not any more" in run.text
    assert (second["id"], second["job"]) == (first["id"], first["job"])
    assert second["tunnel"]["route"] == route and second["tunnel"]["open"], run.text
    assert Jupyter(second["tunnel"]["url"], PASSWORD, str(person.authority)).run(WHERE).strip() == first["node"]
    person.run("stop").succeeded()
    # The next session is made for that route from the start, and its command is a person's.
    third = launched(person)
    assert third["tunnel"]["route"] == route and third["job"] != first["job"]
    assert cell(person, third["tunnel"], tmp_path) == third["node"]


def kernels(site: Cluster, result: dict) -> bool:
    return bool([line for line in site.processes("carol", result["node"]) if "ipykernel" in line])


@pytest.mark.parametrize("site", ["jump-only,no-forward"], indirect=True)
def test_where_nothing_is_permitted_that_is_said_within_seconds(site, person):
    person.run("setup").succeeded()
    launch = person.run("launch", jupyter_wait_timeout=0).succeeded()
    until(lambda: site.shell("cat ~/.jupyter/batch/sessions/default/server.json 2>/dev/null | grep -c '\"ready\"'", check=False).strip() == "1",
          "the server")
    begun = time.monotonic()
    launch = person.run("launch").failed()
    assert time.monotonic() - begun < 20
    assert "None of the routes leads from here" in launch.message
    assert "Ask the site for one of" in launch.message and "runs on node" in launch.message
    for route in ("relay", "jump", "direct", "reverse"):
        assert f"{route}: " in launch.message
