# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What setup writes for engines on all nodes."""

import json
import os
import stat

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import parallel
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure

FACTS = {
    "version": 1, "scheduler": "openpbs", "commands": {"qsub": "/opt/pbs/bin/qsub"},
    "resources": {"nodes": 1, "cores": 4, "memory": 2147483648, "walltime": 7200, "queue": "batch", "account": "proj1", "options": []},
    "jupyter": {"python": "/opt/jupyter/bin/python3", "ipyparallel": "9.2.0", "mpi4py": "4.1.2"},
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    batch = tmp_path / ".jupyter" / "batch"
    batch.mkdir(parents=True)
    (batch / "site.json").write_text(json.dumps(FACTS))
    return tmp_path


def request(**changes):
    return dict({"engines": "# engines\n", "notebook": "{}\n", "notebook_path": "~/parallel.ipynb", "environment": {"modules": ["jupyterlab"]}},
                **changes)


def settings(home):
    return json.loads((home / ".jupyter/batch/parallel/settings.json").read_text())


def facts(home, **changes):
    (home / ".jupyter/batch/site.json").write_text(json.dumps(dict(FACTS, jupyter=dict(FACTS["jupyter"], **changes))))


def test_the_second_run_changes_nothing(home):
    assert parallel.apply(request())["changed"]
    before = dict((str(path), path.read_bytes()) for path in home.rglob("*") if path.is_file())
    again = parallel.apply(request())
    assert not again["changed"] and again["diff"] == [] and not again["notebook_kept"]
    assert dict((str(path), path.read_bytes()) for path in home.rglob("*") if path.is_file()) == before


def test_check_mode_says_and_writes_nothing(home):
    before = sorted(home.rglob("*"))
    answer = parallel.apply(request(check=True))
    assert answer["changed"] and answer["diff"]
    assert sorted(home.rglob("*")) == before


def test_what_holds_keys_is_private(home):
    old = os.umask(0o022)
    try:
        answer = parallel.apply(request())
    finally:
        os.umask(old)
    for directory in answer["profile_dirs"]:
        for path in (directory, directory + "/security", directory + "/log"):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o700, path


def test_a_job_of_engines_asks_as_sessions_do_where_nothing_else_is_said(home):
    parallel.apply(request())
    assert settings(home)["resources"]["queue"] == "batch" and settings(home)["resources"]["cores"] == 4
    parallel.apply(request(resources={"nodes": 8, "cores": 32, "queue": "large", "walltime": "30m", "memory": "", "account": ""}))
    found = settings(home)["resources"]
    assert (found["nodes"], found["cores"], found["queue"], found["walltime"]) == (8, 32, "large", 1800)
    assert (found["memory"], found["account"]) == (2147483648, "proj1")
    assert "c.Cluster.n = 256\n" in (home / ".ipython/profile_jupyter-job/ipcluster_config.py").read_text()


def test_the_engines_environment_is_the_sessions(home):
    parallel.apply(request(environment={"modules": ["jupyterlab", "openmpi"], "variables": {"OMP_NUM_THREADS": "1"}}))
    text = (home / ".jupyter/batch/parallel/environment.sh").read_text()
    assert "module load jupyterlab" in text and "module load openmpi" in text and "export OMP_NUM_THREADS=1" in text


def test_the_controller_is_encrypted_and_no_key_goes_through_the_scheduler(home):
    parallel.apply(request())
    for profile in ("jupyter", "jupyter-job"):
        directory = home / (".ipython/profile_" + profile)
        assert "c.IPController.enable_curve = " in (directory / "ipcontroller_config.py").read_text()
        assert "c.Cluster.send_engines_connection_env = False" in (directory / "ipcluster_config.py").read_text()
        for path in directory.glob("*.py"):
            compile(path.read_text(), str(path), "exec")


def test_a_notebook_that_the_user_changed_stays(home):
    parallel.apply(request())
    notebook = home / "parallel.ipynb"
    notebook.write_text("{} # mine\n")
    answer = parallel.apply(request(notebook="{} # a newer one\n"))
    assert answer["notebook_kept"] and notebook.read_text() == "{} # mine\n" and str(notebook) in answer["warnings"][0]


def test_an_unchanged_notebook_is_brought_up_to_date(home):
    parallel.apply(request())
    answer = parallel.apply(request(notebook="{} # a newer one\n"))
    assert answer["changed"] and (home / "parallel.ipynb").read_text() == "{} # a newer one\n"


def test_a_profile_written_by_hand_is_kept_beside(home):
    directory = home / ".ipython" / "profile_jupyter"
    directory.mkdir(parents=True)
    (directory / "ipcluster_config.py").write_text("c.Cluster.n = 3\n")
    parallel.apply(request())
    kept = [path for path in directory.iterdir() if path.name.startswith("ipcluster_config.py.")]
    assert len(kept) == 1 and kept[0].read_text() == "c.Cluster.n = 3\n"


@pytest.mark.parametrize("changes, mpi, cause", [
    ({"ipyparallel": None}, "auto", "ipyparallel-missing"),
    ({"ipyparallel": "6.3.0"}, "auto", "ipyparallel-old"),
    ({"mpi4py": None}, "required", "mpi4py-missing"),
])
def test_what_is_missing_is_said_before_anything_is_written(home, changes, mpi, cause):
    facts(home, **changes)
    before = sorted(home.rglob("*"))
    with pytest.raises(Failure) as failure:
        parallel.apply(request(mpi=mpi))
    assert failure.value.cause == cause and "othing was changed" in failure.value.message
    assert sorted(home.rglob("*")) == before


def test_without_mpi4py_a_warning(home):
    facts(home, mpi4py=None)
    assert "no mpi4py" in parallel.apply(request())["warnings"][0]
    assert parallel.apply(request(mpi="none"))["warnings"] == []


@pytest.mark.parametrize("name", ["../x", "a b", "x" * 40, "-p"])
def test_a_bad_profile_name_is_refused(home, name):
    with pytest.raises(Failure) as failure:
        parallel.apply(request(profile=name))
    assert failure.value.cause == "bad-name"


def test_paths_of_a_container_are_those_of_the_home(home):
    # It becomes an argument list, which no shell reads.
    parallel.apply(request(environment={"container": "apptainer exec -B $HOME/data ~/jupyter.sif"}))
    assert settings(home)["container"] == ["apptainer", "exec", "-B", "%s/data" % home, "%s/jupyter.sif" % home]


def test_without_an_environment_of_their_own_engines_get_that_of_sessions(home):
    known = dict(FACTS, environment={"modules": ["jupyterlab", "openmpi"]})
    (home / ".jupyter/batch/site.json").write_text(json.dumps(known))
    parallel.apply(request(environment={}))
    assert "module load openmpi" in (home / ".jupyter/batch/parallel/environment.sh").read_text()
