# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What setup writes on the login node."""

import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import batch
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import Failure


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def apply(**request):
    return batch.apply(dict({"scheduler": "local", "preflight": False}, **request))


def test_what_makes_jupyter_available_is_kept_for_engines(home):
    environment = {"modules": ["jupyterlab", "openmpi"], "variables": {"OMP_NUM_THREADS": "1"}}
    apply(environment=environment)
    assert json.loads((home / ".jupyter/batch/site.json").read_text())["environment"] == environment
    assert not apply(environment=environment)["changed"]
    assert apply(environment={"modules": ["jupyterlab"]})["changed"]


def test_the_command_for_the_laptop_is_kept_as_the_connect_tool_says_it(home):
    apply(connect_hint="ssh -L 127.0.0.1:8888:/RELAY_DIR/default-manual.sock login")
    facts = json.loads((home / ".jupyter/batch/site.json").read_text())
    assert facts["connect_hint"] == "ssh -L 127.0.0.1:8888:%s/default-manual.sock login" % facts["relay_dir"]
    assert "#     %s\n" % facts["connect_hint"] in (home / ".jupyter_connect").read_text()


def test_a_job_that_would_be_refused_is_told_where_the_script_is_new(home):
    def told(**request):
        return apply(**request)["warnings"]

    refused = dict(resources={"queue": "gpu"})
    for check in (True, False):
        (warning,) = told(check=check, **refused)
        assert warning.startswith("A launch as it is set up here would be refused: the local scheduler has no queue. Unset jupyter_queue")
    assert told(**refused) == [] and told() == []


def test_a_connect_tool_in_a_directory_that_is_not_there_yet(home):
    apply(connect_path="~/bin/connect")
    assert (home / "bin/connect").exists()


def test_no_copies_are_kept_of_what_setup_alone_writes(home):
    for modules in (["a"], ["b"], ["c"]):
        apply(environment={"modules": modules})
    assert not [path.name for path in (home / ".jupyter/batch").iterdir() if path.name.endswith("~")]


def test_a_job_of_another_cluster_is_refused_before_anything_is_written(home, monkeypatch):
    monkeypatch.setattr(batch.schedulers, "detect", lambda *_args, **_more: ("slurm", {"sbatch": "/usr/bin/sbatch"}, "found"))
    with pytest.raises(Failure) as told:
        apply(scheduler="slurm", resources={"options": ["--clusters=other"]})
    assert told.value.message.count("Take it out of jupyter_batch_options") == 1 and told.value.message.endswith("Nothing was changed.")
    assert not list(home.iterdir())
