# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Setup once, launch per session: from nothing to a cell that runs on a compute node, and back to nothing."""

from __future__ import annotations

import pytest
from harness import PASSWORD, free_port, typed, until
from kernel_client import Jupyter, LoginFailed

PYTHON27 = "python/2.7.15-anaconda2-2018.12"
WHERE = "import socket; print(socket.gethostname())"


def cell(laptop, result, tmp_path, code=WHERE):
    """Type the command that a launch printed, log in, run a cell; return what it printed."""
    tunnel = result["tunnel"]
    with typed(tunnel, tmp_path / "ssh.log"):
        return Jupyter(tunnel["url"], PASSWORD, str(laptop.authority)).run(code).strip()


@pytest.mark.parametrize("asked, module, scheduler, flavour, endpoint", [
    pytest.param("auto", "jupyterlab", "slurm", "jupyter_server", "socket", id="slurm"),
    pytest.param("slurm_pbs", "jupyterlab", "slurm_pbs", "jupyter_server", "socket", id="pbs-commands"),
    pytest.param("auto", "notebook-classic", "slurm", "notebook", "socket", id="classic-notebook"),
    pytest.param("auto", PYTHON27, "slurm", "notebook", "tls", id="python2.7"),
])
def test_from_nothing_to_a_cell_on_a_compute_node_and_back(account, laptop, tmp_path, asked, module, scheduler, flavour, endpoint):
    assert account.has_module(module), "this machine could not build it; 'make cluster' says why"
    # Of its own, for whatever else this machine does may take the next free one between two launches.
    laptop.variables.update(jupyter_scheduler=asked, jupyter_modules=[module], jupyter_local_port=free_port())

    setup = laptop.run("setup").succeeded()
    assert setup.changed
    assert setup.of("batch")["scheduler"] == scheduler
    assert setup.of("server")["password"] == "set"
    launch = laptop.run("launch").succeeded()
    first = launch.of("session")
    assert first["changed"] and first["state"] == "ready" and account.jobs() == [first["job"]]
    assert first["node"] in ("node1", "node2") and 0 < first["time_left"] <= 600
    assert (first["flavour"], first["endpoint"]["kind"]) == (flavour, endpoint)
    # The person sees the very command and address that the result holds.
    assert f"  {first['tunnel']['command']}\n" in launch.text and first["tunnel"]["url"] in launch.text
    assert cell(laptop, first, tmp_path) == first["node"]

    assert not laptop.run("setup").succeeded().changed
    again = laptop.run("launch").succeeded().of("session")
    assert not again["changed"]
    assert (again["job"], again["tunnel"]) == (first["job"], first["tunnel"])
    assert account.jobs() == [first["job"]]

    stop = laptop.run("stop").succeeded()
    assert stop.changed and first["job"] in stop.text
    assert account.jobs() == []
    until(lambda: not account.processes("carol", first["node"]), "the node without a process of hers")
    assert not laptop.run("stop").succeeded().changed


def test_a_wrong_password_opens_nothing(account, laptop, tmp_path):
    laptop.run("setup").succeeded()
    tunnel = laptop.run("launch").succeeded().of("session")["tunnel"]
    with typed(tunnel, tmp_path / "ssh.log"), pytest.raises(LoginFailed):
        Jupyter(tunnel["url"], PASSWORD + "!")


def test_what_the_user_had_in_the_configuration_stays_byte_for_byte(account, laptop):
    server = '{\n    // mine\n    "ServerApp" : { "allow_origin":"https://example.org",\t"tornado_settings": {"a":1e0} },\n "LabApp":{}\n}'
    server = server.replace("    // mine\n", "")
    notebook = '{"NotebookApp": {"nbserver_extensions": {"x": true}},   "Mine": [1,2 ,3]}\n\n'
    account.shell(
        "umask 022; mkdir ~/.jupyter; cd ~/.jupyter; "
        f"printf %s '{server}' > jupyter_server_config.json; printf %s '{notebook}' > jupyter_notebook_config.json")
    laptop.run("setup").succeeded()
    now = account.shell("cd ~/.jupyter; cat jupyter_server_config.json; echo; echo ==; cat jupyter_notebook_config.json")
    for mine in ('"allow_origin":"https://example.org",\t"tornado_settings": {"a":1e0}', '"LabApp":{}', '"nbserver_extensions": {"x": true}',
                 ',   "Mine": [1,2 ,3]'):
        assert mine in now
    assert not laptop.run("setup").succeeded().changed


def test_the_job_script_works_when_submitted_by_hand(account, laptop, tmp_path):
    laptop.run("setup").succeeded()
    job = account.shell("sbatch --parsable ~/.jupyter/batch/jupyter.slurm").strip()
    until(lambda: '"ready"' in account.shell("cat ~/.jupyter/batch/sessions/default/server.json", check=False), "the server")
    assert account.jobs() == [job]


def test_two_sessions_of_one_user_are_two(account, laptop, tmp_path):
    laptop.run("setup").succeeded()
    one = laptop.run("launch", jupyter_session="one").succeeded().of("session")
    two = laptop.run("launch", jupyter_session="two", jupyter_cores=2).succeeded().of("session")
    assert one["job"] != two["job"] and one["tunnel"]["port"] != two["tunnel"]["port"]
    assert cell(laptop, two, tmp_path) == two["node"]
    status = laptop.run("status").succeeded().of("session_info")
    assert [(view["session"], view["state"]) for view in status["sessions"]] == [("one", "ready"), ("two", "ready")]
    laptop.run("stop", jupyter_session="one").succeeded()
    assert account.jobs() == [two["job"]]
    laptop.run("stop", jupyter_all_sessions=True).succeeded()
    assert account.jobs() == []


def test_the_tunnel_can_be_opened_and_closed_by_the_playbooks(account, laptop):
    laptop.run("setup").succeeded()
    first = laptop.run("launch", jupyter_tunnel="open").succeeded().of("session")
    assert first["tunnel"]["open"]
    assert Jupyter(first["tunnel"]["url"], PASSWORD).run(WHERE).strip() == first["node"]
    again = laptop.run("connect", jupyter_tunnel="open").succeeded().of("session")
    assert not again["changed"] and again["tunnel"]["url"] == first["tunnel"]["url"]
    laptop.run("stop").succeeded()
    until(lambda: not account.processes("carol"), "the login node without a process of hers")


def test_a_session_at_hand_costs_no_login_and_one_that_was_is_found_to_be_over(account, laptop):
    def logins():
        return int(account.verb("sshd-log", "login", "--count").stdout)

    laptop.run("setup").succeeded()
    first = laptop.run("launch", jupyter_tunnel="open").succeeded().of("session")
    laptop.disconnect()
    before = logins()
    again = laptop.run("launch", jupyter_tunnel="open").succeeded().of("session")
    assert logins() == before and not again["changed"]
    same = ("session", "state", "job", "node", "ends", "resources", "log")
    assert {name: again[name] for name in same} == {name: first[name] for name in same} and again["tunnel"]["url"] == first["tunnel"]["url"]
    # What the login node alone can tell is asked of it.
    assert "has cores 1 (asked for: 2)" in laptop.run("launch", jupyter_tunnel="open", jupyter_cores=2).succeeded().message
    assert logins() > before
    account.shell(f"scancel {first['job']}")
    until(lambda: not account.jobs(), "the end of the job")
    anew = laptop.run("launch", jupyter_tunnel="open").succeeded().of("session")
    assert anew["changed"] and anew["job"] != first["job"] and anew["tunnel"]["url"] == first["tunnel"]["url"]
    assert Jupyter(anew["tunnel"]["url"], PASSWORD).run(WHERE).strip() == anew["node"]
    laptop.run("stop").succeeded()
    until(lambda: not account.processes("carol"), "the login node without a process of hers")
