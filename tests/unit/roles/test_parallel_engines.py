# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts engines over the nodes, in every dialect and for every MPI, and what is said when it fails.

ipyparallel itself is not needed here: the few names that the launchers inherit from are stood in for. The launchers proper are
tried on a live cluster (tests/integration/test_parallel_live.py).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import types

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import zip_application
from ansible_collections.hpc.jupyter.plugins.module_utils.job_script import Environment

ROOT = pathlib.Path(__file__).resolve().parents[3]
FOUR = ["n1", "n1", "n2", "n2"]


class Trait:
    def __new__(cls, default=None, **dummy):
        return type("Value", (type(default),), {"tag": lambda self, **dummy: default})(default)


class Launcher:
    """As much of ipyparallel's launchers as ours use."""

    profile_dir, cluster_id, identifier, queue, engine_args, state = "/p", "c1", "engines", "", [], "before"
    engine_set_id, parent = "s", None
    log = logging.getLogger("test")

    def notify_start(self, data):
        self.state = "running"

    def notify_stop(self, data):
        self.state, self.stop_data = "after", data


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    names = ("psutil", "traitlets", "ipyparallel", "ipyparallel.cluster", "ipyparallel.cluster.launcher", "ipyparallel.cluster.cluster")
    kept = {name: sys.modules.get(name) for name in names}
    fakes = {name: types.ModuleType(name) for name in names}
    fakes["traitlets"].Integer = fakes["traitlets"].Unicode = Trait
    launcher = fakes["ipyparallel.cluster.launcher"]
    for name in ("LocalControllerLauncher", "LocalProcessLauncher", "BatchEngineSetLauncher"):
        setattr(launcher, name, type(name, (Launcher,), {}))
    launcher.EngineLauncher = type("EngineLauncher", (), {})
    launcher.NotRunning = type("NotRunning", (Exception,), {})
    launcher.LauncherError = type("LauncherError", (Exception,), {})
    fakes["ipyparallel.cluster"].launcher = launcher
    fakes["ipyparallel.cluster.cluster"].Cluster = type("Cluster", (), {})
    sys.modules.update(fakes)
    # As on a login node: beside its settings, with the program as a zip archive.
    home = tmp_path_factory.mktemp("batch") / "parallel"
    home.mkdir()
    shutil.copy(ROOT / "roles/parallel/files/hpc_jupyter_engines.py", home)
    sources = {"__init__.py": ""}
    for path in (ROOT / "plugins/module_utils").rglob("*.py"):
        sources[path.relative_to(ROOT / "plugins/module_utils").as_posix()] = path.read_text(encoding="utf-8")
    (home.parent / "program.pyz").write_bytes(zip_application.program(sources).pack())
    (home / "environment.sh").write_text(Environment(modules=["jupyterlab"], variables={"A": "b c"}).setup_lines())
    spec = importlib.util.spec_from_file_location("hpc_jupyter_engines", home / "hpc_jupyter_engines.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name, value in kept.items():
        sys.modules.pop(name) if value is None else sys.modules.update({name: value})
    for name in [name for name in sys.modules if name.split(".")[0] == "hpc_jupyter"]:
        del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if not entry.endswith("program.pyz")]


def chosen(engines, **changes):
    value = dict({"version": 1, "scheduler": "slurm", "commands": {}, "resources": {"nodes": 1, "cores": 2, "queue": "batch", "account": "proj1",
                  "walltime": 3600, "memory": 1 << 30, "gpus": 0, "options": []}, "program": str(pathlib.Path(engines.HERE).parent / "program.pyz"),
                  "mpi": "auto", "starter": "auto", "starter_options": [], "container": [], "poll_interval": 0}, **changes)
    (pathlib.Path(engines.HERE) / "settings.json").write_text(json.dumps(value))
    return value


def fake(directory, name, script):
    path = directory / name
    path.write_text("#!/bin/sh\n" + script + "\n")
    path.chmod(0o755)
    return str(path)


# --- what an allocation starts programs with -----------------------------------------------

VERSIONS = {
    "Open MPI": "mpiexec (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/",
    "MPICH": "HYDRA build details:\n    Version:                                 4.0.2",
    "Intel MPI": "Intel(R) MPI Library for Linux* OS, Version 2021.9 Build 20230307",
}


@pytest.mark.parametrize("family, slurm, wanted", [
    ("Open MPI", False, ["--bind-to", "none", "--hostfile", "/nodes"]),
    ("Open MPI", True, ["--bind-to", "none"]),
    ("MPICH", False, ["-f", "/nodes"]),
    ("Intel MPI", False, ["-f", "/nodes"]),
    ("MPICH", True, []),
])
def test_mpiexec_of_each_mpi(engines, family, slurm, wanted):
    starter = engines._mpiexec("/opt/mpi/bin/mpiexec", ["-x"], VERSIONS[family], slurm)
    assert starter.argv(4, FOUR, "/nodes") == ["/opt/mpi/bin/mpiexec", "-n", "4"] + wanted + ["-x"]


@pytest.mark.parametrize("version, overlap", [("slurm 20.02.7", False), ("slurm 20.11.1", True), ("slurm-wlm 22.05.8", True), ("slurm 23.11", True)])
def test_srun_shares_the_allocation_where_it_would_wait_otherwise(engines, version, overlap):
    found = engines._srun([], version, "MPI plugin types are...\n\tpmix\n\tnone\n\tpmi2\nspecific pmix plugin versions available: pmix_v4")
    assert [starter.label for starter in found] == ["srun", "srun --mpi=pmix", "srun --mpi=pmi2"]
    argv = found[1].argv(4, FOUR, "/nodes")
    assert ("--overlap" in argv) is overlap and "--mpi=pmix" in argv and argv[:5] == ["srun", "-n", "4", "-N", "2"]
    assert "--distribution=cyclic" in found[0].argv(2, FOUR, "/nodes")


def test_a_site_that_says_how_is_not_guessed_at(engines):
    found = engines._srun(["--mpi=cray_shasta"], "slurm 23.02", "pmix pmi2")
    assert [starter.label for starter in found] == ["srun"] and "--mpi=cray_shasta" in found[0].argv(1, FOUR, "/n")


def test_node_files_in_each_mpis_words(engines, tmp_path):
    path = str(tmp_path / "nodes")
    engines.write_nodefile(path, FOUR, "Open MPI")
    assert pathlib.Path(path).read_text() == "n1 slots=2\nn2 slots=2\n"
    engines.write_nodefile(path, FOUR, "MPICH")
    assert pathlib.Path(path).read_text() == "n1:2\nn2:2\n"


def test_the_slots_are_those_of_the_node_file(engines, tmp_path):
    (tmp_path / "nodes").write_text("n1.cluster.test\nn1.cluster.test\nn2.cluster.test\n")
    found = engines.slots({"PBS_NODEFILE": str(tmp_path / "nodes")}, chosen(engines))
    assert engines.per_host(found) == [("n1.cluster.test", 2), ("n2.cluster.test", 1)]


def test_more_engines_than_slots(engines):
    engines.check_slots(4, FOUR)
    with pytest.raises(engines.Problem, match=r"9 engines were asked for, and this job has 4 slots \(2 on n1, 2 on n2\)"):
        engines.check_slots(9, FOUR)


def test_an_engine_gets_the_session_and_nothing_of_its_node(engines, tmp_path):
    env = {"PATH": "/opt/jupyter/bin:/bin", "LD_LIBRARY_PATH": "/opt/mpi/lib", "QUOTED": "a 'b'\n$c", "SLURM_PROCID": "0", "PMIX_RANK": "0",
           "TMPDIR": "/var/tmp/pbs.1", "PBS_NODEFILE": "/x", "BASH_FUNC_module%%": "() { :; }", "IPP_CONNECTION_INFO": "{secret}"}
    script = engines.engine_script(env).rpartition("exec ")[0]
    assert "secret" not in script
    done = subprocess.run(["env", "-i", "SLURM_PROCID=7", "TMPDIR=/here", "sh", "-c", script + "env -0"], stdout=subprocess.PIPE, check=True)
    seen = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)
    seen = {name: value for name, value in seen.items() if name not in ("PWD", "SHLVL", "_", "OLDPWD")}
    assert seen == {"PATH": env["PATH"], "LD_LIBRARY_PATH": env["LD_LIBRARY_PATH"], "QUOTED": env["QUOTED"], "SLURM_PROCID": "7", "TMPDIR": "/here"}


# --- what is said when it does not work --------------------------------------------------

def answer(**more):
    return dict({"host": "n1", "python": "/py", "size": 2, "rank": 0, "library": "Open MPI v4.1.4, package: Debian OpenMPI"}, **more)


def test_a_world_of_the_right_size_is_fine(engines):
    assert engines.judge_probe([answer(), answer(rank=1)], 2, "srun") is None


@pytest.mark.parametrize("answers, label, output, words", [
    ([answer(size=1), answer(size=1)], "/usr/bin/mpiexec (MPICH)", "", ["Open MPI v4.1.4", "another MPI", "MPICC=mpicc"]),
    ([answer(size=1), answer(size=1)], "srun", "", ["alone in an MPI world", "Open MPI v4.1.4"]),
    ([answer(error="RuntimeError: cannot load MPI library")], "srun", "", ["n1", "cannot load MPI library", "jupyter_modules"]),
    ([], "srun", "slurmstepd-node1: error: *** STEP 13.2 ON node1 CANCELLED ***\nsrun: error: node1: task 0: Terminated\n", ["another PMI"]),
    ([], "srun", "OMPI was not built with SLURM's PMI support", ["PMI"]),
    ([answer()], "srun", "srun: error: n2: something odd\n", ["1 of 2", "n2: something odd"]),
])
def test_a_probe_that_fails_is_explained(engines, answers, label, output, words):
    wrong = engines.judge_probe(answers, 2, label, output, 1 if output else 0)
    for word in words:
        assert word in wrong


@pytest.mark.parametrize("tail, words", [
    (["srun: error: Node failure on node2", "srun: Force Terminated StepId=3.1"], "The node node2 failed"),
    (["ORTE has lost communication with a remote daemon.", "", "  HNP daemon   : [[1],0] on node node1", "  Remote daemon: [[1],1] on node node2"],
     "The node node2 can't be reached"),
    (["There are not enough slots available in the system to satisfy the 9"], "more engines than slots"),
    (["slurmstepd: error: Detected 1 oom-kill event(s)"], "more memory"),
    (["what nobody has seen"], "mpiexec ended with status 9: what nobody has seen"),
])
def test_how_a_starter_ended_is_explained(engines, tail, words):
    assert words in engines.explain(tail, "mpiexec", 9)


def test_a_node_that_fails_is_told_whatever_the_status_and_a_clean_end_needs_no_reason(engines):
    assert "node2 failed" in engines.explain(["srun: error: Node failure on node2"], "srun", 0)
    assert engines.explain(["engines said goodbye"], "srun", 0) is None


@pytest.mark.parametrize("states, tail, status, words", [
    ("node1 mixed\nnode1 mixed\nnode2 down*", ["srun: Force Terminated StepId=3.1"], 1, "The node node2 failed"),
    ("node1 mixed\nnode2 down*", [], 137, "The node node2 failed"),
    ("node1 mixed\nnode2 down*", [], 0, "The node node2 failed"),
    ("node1 mixed\nnode2 mixed", ["srun: Force Terminated StepId=3.1"], 1, "srun ended with status 1: srun: Force"),
    ("sinfo: error: Invalid node name specified", ["srun: Force Terminated StepId=3.1"], 1, "srun ended with status 1: srun: Force"),
])
def test_a_node_that_fails_is_found_where_the_starter_heard_of_the_steps_end_alone(engines, tmp_path, monkeypatch, states, tail, status, words):
    (tmp_path / "sinfo").write_text(f"#!/bin/sh\n[ \"$3\" = --nodes=node1,node2 ] && echo '{states}'\n")
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert words in engines.explain(tail, "srun", status, ["node1", "node1", "node2"])


def test_neither_srun_nor_mpiexec(engines, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(engines.Problem, match="MPI is missing: neither srun nor mpiexec is on the PATH"):
        engines.choose(chosen(engines), FOUR, 4, None)
    # On one node plain processes do.
    assert engines.choose(chosen(engines, mpi="none"), ["n1", "n1"], 2, None)[0] is None


def test_an_engine_that_cannot_reach_the_controller_says_so(engines, tmp_path, capsys):
    (tmp_path / "security").mkdir()
    # A port that nobody listens on: bound, and not listening.
    import socket
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (tmp_path / "security" / "ipcontroller-c1-engine.json").write_text(
            json.dumps({"interface": "tcp://*", "location": "127.0.0.1", "registration": port}))
        assert engines.main(["engine", "--profile-dir", str(tmp_path), "--cluster-id", "c1"]) == engines.NO_WAY
    said = capsys.readouterr().out
    assert said.startswith(engines.SAY) and f"can't reach the controller at 127.0.0.1, port {port}" in said and "refused" in said


# --- engines in a job of their own, in every dialect --------------------------------------

@pytest.mark.parametrize("scheduler, words, job", [
    ("openpbs", ["-l", "select=3:ncpus=2:mpiprocs=2:mem=1024mb", "-q", "large", "-A", "proj1"], "7.pbs-login"),
    ("torque", ["nodes=3:ppn=2,walltime=01:00:00,mem=3072mb", "-q", "large", "-A", "proj1"], "12.tq-login.torque.test"),
    ("slurm", ["-N3", "--ntasks-per-node=2", "-p", "large", "-A", "proj1", "-t", "01:00:00"], "42"),
    ("slurm_pbs", ["-q", "large", "-A", "proj1"], "42"),
])
def test_a_job_of_engines_in_every_dialect(engines, tmp_path, scheduler, words, job):
    command = "sbatch" if scheduler == "slurm" else "qsub"
    path = fake(tmp_path, command, f'printf "%s\\n" "$@" > {tmp_path}/argv; env > {tmp_path}/env; echo {job}')
    chosen(engines, scheduler=scheduler, commands={command: path})
    (tmp_path / "log").mkdir()
    launcher = engines.JobEngines()
    launcher.profile_dir, launcher.output_file, launcher.queue = str(tmp_path), str(tmp_path / "log" / "out"), "large"
    launcher._watch = lambda: None
    assert asyncio.run(launcher.start(5)) == job and launcher.state == "running"
    argv = (tmp_path / "argv").read_text().splitlines()
    for word in words:
        assert word in argv or any(word in one for one in argv), (word, argv)
    script = pathlib.Path(argv[-1].strip("'"))
    text = script.read_text()
    # The site's environment section, and no word that a scheduler would take for its own.
    assert "module load jupyterlab" in text and "export A='b c'" in text
    assert not [line for line in text.splitlines() if line.startswith(("#PBS", "#SBATCH"))]
    assert text.rstrip().endswith("start -n 5 --profile-dir %s --cluster-id c1" % tmp_path)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert script.stat().st_mode & 0o077 == 0


def test_a_job_that_is_refused_says_why(engines, tmp_path):
    path = fake(tmp_path, "qsub", "echo 'qsub: Unknown queue' >&2; exit 170")
    chosen(engines, scheduler="openpbs", commands={"qsub": path})
    (tmp_path / "log").mkdir()
    launcher = engines.JobEngines()
    launcher.profile_dir, launcher.output_file = str(tmp_path), str(tmp_path / "log" / "out")
    with pytest.raises(engines.Problem, match="(?s)job for 4 engines was not submitted.*Unknown queue.*jupyter_queue"):
        asyncio.run(launcher.start(4))


def test_ending_the_engines_deletes_their_job(engines, tmp_path):
    path = fake(tmp_path, "qdel", f'echo "$@" > {tmp_path}/argv')
    chosen(engines, scheduler="openpbs", commands={"qdel": path})
    launcher = engines.JobEngines()
    launcher.profile_dir, launcher.job_id, launcher.state = str(tmp_path), "7.pbs-login", "running"
    launcher.stop()
    assert (tmp_path / "argv").read_text().strip().endswith("7.pbs-login") and launcher.state == "after"


def test_a_reason_is_given_once_for_all_engines(engines):
    text = "noise\n" + "\n".join([engines.SAY + "n2 can't reach it"] * 40) + "\n" + engines.NOTE + "4 engines by srun\n"
    assert engines.reasons(text) == ["n2 can't reach it"]
    assert f"Engine set stopped: {engines.Ending(exit_code=5, reason='why')}" == "Engine set stopped: why"
