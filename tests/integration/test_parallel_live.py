# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines on all nodes, from a notebook in the browser: within the session's job, in a job of their own, and when things fail.

One session of two nodes serves all tests; the last one switches its second node off.
"""

from __future__ import annotations

import collections
import json
import secrets

import pytest
from harness import HERE, PASSWORD, Controller, free_port, typed, until
from kernel_client import Jupyter
from notebook_client import CellFailed, kernel, run_notebook

Session = collections.namedtuple("Session", "cluster laptop launch browser")

START = """
import ipyparallel as ipp, os, socket
rc = ipp.Cluster(profile="jupyter").start_and_connect_sync()
"""
STOP = "rc.cluster.stop_cluster_sync()"
HOSTS = "print(sorted(rc[:].apply_sync(socket.gethostname)))"
ALLREDUCE = """
def allreduce():
    from mpi4py import MPI
    return MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.Get_rank())
print(rc[:].apply_sync(allreduce))
"""
BOTH = "['node1', 'node1', 'node2', 'node2']"


@pytest.fixture(scope="module")
def session(cluster, collections, tmp_path_factory):
    cluster.clear()
    home = tmp_path_factory.mktemp("laptop")
    laptop = Controller(home, collections, cluster.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:20:00", "jupyter_parallel": True,
        "jupyter_nodes": 2, "jupyter_cores": 2, "jupyter_local_port": free_port(),
        # Without it Slurm ends the whole job, notebook and all, when one of its nodes fails.
        "jupyter_batch_options": ["--no-kill"]})
    laptop.run("setup").succeeded()
    launch = laptop.run("launch").succeeded().of("session")
    with typed(launch["tunnel"], home / "ssh.log"):
        yield Session(cluster, laptop, launch, Jupyter(launch["tunnel"]["url"], PASSWORD))
    cluster.verb("node2", "on")
    cluster.clear()


def engines_of(cluster, node):
    return [line for line in cluster.processes("carol", node) if "hpc_jupyter_engines.py" in line or "ipyparallel" in line]


def test_the_example_notebook_computes_on_both_nodes(session):
    shown = run_notebook(session.browser, "parallel.ipynb")
    assert "4 engines" in shown["start"].text
    assert shown["hosts"].text == "2 engines on node1\n2 engines on node2\n"
    assert shown["mpi"].text == "MPI world of 4\nallreduce 6\n"
    assert shown["pi"].text == "pi is about 3.141 from 64 estimates\n"
    assert shown["plot"].images == 1
    for node in ("node1", "node2"):
        until(lambda: not engines_of(session.cluster, node), f"{node} without engines after the notebook's last cell")  # noqa: B023


def test_setup_again_changes_nothing_and_a_changed_notebook_stays(session):
    assert not session.laptop.run("setup").succeeded().changed
    session.cluster.shell("echo ' ' >> ~/parallel.ipynb")
    before = session.cluster.shell("sha256sum ~/parallel.ipynb")
    again = session.laptop.run("setup").succeeded()
    assert not again.changed and again.of("parallel")["notebook_kept"]
    assert session.cluster.shell("sha256sum ~/parallel.ipynb") == before
    session.cluster.shell("rm ~/parallel.ipynb")
    assert session.laptop.run("setup").succeeded().changed
    assert session.cluster.shell("sha256sum ~/parallel.ipynb") != before


def test_engines_in_a_job_of_their_own_which_ends_with_them(session):
    mine = session.launch["job"]
    with kernel(session.browser) as cells:
        started = cells.run(START.replace('"jupyter"', '"jupyter-job", n=4')).text
        jobs = [job for job in session.cluster.jobs() if job != mine]
        assert len(jobs) == 1 and f"Job {jobs[0]}" in started
        assert cells.run(HOSTS).text.strip() == BOTH
        assert cells.run(ALLREDUCE).text.strip() == "[6, 6, 6, 6]"
        assert "jupyterlab/" in cells.run("print(rc[0].apply_sync(lambda: __import__('os').environ['LOADEDMODULES']))").text
        # No secret in what others may see of a job.
        assert "IPP_CONNECTION" not in session.cluster.shell(f"scontrol -o show job {jobs[0]}; cat /proc/[0-9]*/cmdline 2>/dev/null", "dave",
                                                             check=False)
        cells.run(STOP)
        until(lambda: session.cluster.jobs() == [mine], "the end of the engines' job", 20)


def test_a_kernel_that_ends_takes_its_engines_job_with_it(session):
    with kernel(session.browser) as cells:
        cells.run(START.replace('"jupyter"', '"jupyter-job", n=2'))
        assert len(session.cluster.jobs()) == 2
    until(lambda: session.cluster.jobs() == [session.launch["job"]], "the end of the engines' job", 30)


@pytest.mark.parametrize("before, start, words", [
    pytest.param("", 'ipp.Cluster(profile="jupyter", n=9)',
                 ["9 engines were asked for, and this job has 4 slots (2 on node1, 2 on node2)", "n=4"], id="more-than-slots"),
    pytest.param("", 'ipp.Cluster(profile="jupyter-job", n=99)', ["The job for 99 engines was not submitted", "sbatch"], id="more-than-cluster"),
    pytest.param("", 'ipp.Cluster(profile="jupyter-job", n=1, config=Config({"JobEngines": {"queue": "nosuch"}}))',
                 ["was not submitted", "invalid partition"], id="no-such-queue"),
    pytest.param("os.environ['PATH'] = '/nowhere'", 'ipp.Cluster(profile="jupyter")',
                 ["MPI is missing: neither srun nor mpiexec", "jupyter_modules"], id="no-mpi"),
    pytest.param("settings('starter', 'mpiexec'); settings('starter_options', ['--no-such-option'])", 'ipp.Cluster(profile="jupyter")',
                 ["MPI does not work over the nodes of this job", "mpiexec"], id="mpiexec-fails"),
    pytest.param("settings('starter', 'srun'); settings('starter_options', ['--mpi=pmi2'])", 'ipp.Cluster(profile="jupyter")',
                 ["MPI does not work over the nodes of this job. srun:", "PMI"], id="another-pmi"),
    pytest.param("settings('starter', 'srun'); settings('starter_options', ['--mpi=none'])", 'ipp.Cluster(profile="jupyter")',
                 ["MPI does not work over the nodes of this job. srun:"], id="no-pmi"),
])
def test_what_goes_wrong_is_told(session, before, start, words):
    with kernel(session.browser) as cells:
        cells.run("""
import ipyparallel as ipp, json, os, pathlib
from traitlets.config import Config
path = pathlib.Path.home() / ".jupyter/batch/parallel/settings.json"
kept = path.read_text()
def settings(name, value):
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
""")
        try:
            with pytest.raises(CellFailed) as failure:
                cells.run(before + "\nrc = " + start + ".start_and_connect_sync()")
        finally:
            cells.run("path.write_text(kept)")
        for word in words:
            assert word in str(failure.value)
        # A start that failed leaves no controller behind, and the kernel works on.
        until(lambda: not engines_of(session.cluster, session.launch["node"]), "the end of the controller", 20)
        assert cells.run("print(6 * 7)").text == "42\n"


def test_the_node_file_is_enough(session):
    """As in a job of PBS, where nothing of Slurm is known."""
    with kernel(session.browser) as cells:
        cells.run("import os\nfor name in [name for name in os.environ if name.startswith('SLURM')]: del os.environ[name]")
        cells.run(START)
        assert cells.run(HOSTS).text.strip() == BOTH
        assert cells.run(ALLREDUCE).text.strip() == "[6, 6, 6, 6]"
        cells.run(STOP)


def test_another_user_cannot_connect(session, tmp_path):
    with kernel(session.browser) as cells:
        cells.run(START)
        path = cells.run("print(rc._connection_info['url_file'] if 'url_file' in getattr(rc, '_connection_info', {}) else "
                         "rc.cluster.controller.connection_files['client'])").text.strip()
        info = json.loads(session.cluster.shell(f"cat {path}"))
        assert "Permission denied" in session.cluster.shell(f"cat {path} 2>&1", "dave", check=False)
        tried = {
            "with what carol has": info,
            "without the key": dict(info, curve_serverkey=None, key=""),
            "with another key": dict(info, curve_serverkey=_other_curve_key(info), key=secrets.token_hex(16)),
            "with the messages' key alone": dict(info, curve_serverkey=None),
        }
        said = {}
        for name, content in tried.items():
            file = f"/tmp/parallel-{secrets.token_hex(4)}.json"
            session.cluster.shell(f"cat > {file} <<'E'\n{json.dumps(content)}\nE", "dave", "node2")
            script = (HERE / "intruder.py").read_text(encoding="utf-8")
            said[name] = session.cluster.shell(
                f"module load jupyterlab; python3 - {file} <<'E' 2>&1\n{script}\nE", "dave", "node2", check=False)
        cells.run(STOP)
    assert info["curve_serverkey"], "not encrypted"
    # The test can fail: dave's client works with a key, and the port is open to it.
    assert "connected 42" in said.pop("with what carol has")
    for name, text in said.items():
        assert "port open" in text and "refused" in text and "connected" not in text, (name, text)


def _other_curve_key(info):
    """A well-formed key that is not the controller's."""
    key = info["curve_serverkey"]
    return key[5:] + key[:5]


def test_the_cluster_panel_starts_and_ends_them(session):
    seen = {one["cluster"]["profile"]: one for one in session.browser.api("GET", "ipyparallel/clusters")}
    assert {"jupyter", "jupyter-job"} <= set(seen)
    made = session.browser.api("POST", "ipyparallel/clusters", {"profile": "jupyter", "cluster_id": "panel"})
    session.browser.api("POST", "ipyparallel/clusters/" + made["id"], {})
    with kernel(session.browser) as cells:
        cells.run('import ipyparallel as ipp, socket\nrc = ipp.Client(profile="jupyter", cluster_id="panel")\nrc.wait_for_engines(4, timeout=60)')
        assert cells.run(HOSTS).text.strip() == BOTH
        # What a kernel starts, the panel lists as running.
        cells.run('rc = ipp.Cluster(profile="jupyter", cluster_id="kernel", n=1).start_and_connect_sync()')
        listed = {one["cluster"]["cluster_id"]: one for one in session.browser.api("GET", "ipyparallel/clusters")}
        assert listed["kernel"].get("controller") and listed["kernel"]["engines"]["sets"]
        cells.run(STOP)
    session.browser.api("DELETE", "ipyparallel/clusters/" + made["id"])
    until(lambda: not engines_of(session.cluster, "node2"), "the end of the engines", 20)


def test_a_node_that_fails_is_told_and_the_session_lives(session):
    assert session.launch["node"] == "node1"
    with kernel(session.browser) as cells:
        cells.run(START)
        computing = cells.begin("""
def work():
    import time
    time.sleep(300)
results = rc[:].apply_async(work)
print("computing", flush=True)
results.get()
""")
        cells.finish(computing, until="computing")
        session.cluster.verb("node2", "off")
        with pytest.raises(CellFailed) as failure:
            cells.finish(computing)
        assert "died while running task" in str(failure.value)
        # The controller, Slurm and MPI miss the node each by a clock of its own: the reason may come after the error, and from either.
        cells.wait_for(r"The node node2 (failed|can't be reached any more), and the engines (ended )?with it\.")
        assert cells.run("print(6 * 7)").text == "42\n"
        assert session.launch["job"] in session.cluster.jobs()
        cells.run(STOP)
