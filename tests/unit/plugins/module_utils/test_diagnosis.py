# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a session ended, as its person is told."""

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import diagnosis, session
from ansible_collections.hpc.jupyter.plugins.module_utils.places import SessionPlaces
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base


@pytest.fixture
def places(tmp_path):
    return SessionPlaces(str(tmp_path), "default")


def write(path, text):
    with open(path, "w") as stream:
        stream.write(text)


def failed():
    return base.Job("7", state=base.FINISHED, exit_kind=base.FAILED, exit_code=1)


def test_a_script_that_failed_is_explained_from_the_schedulers_own_file(places):
    write(places.output, "Lmod has detected the following error: The following module(s) are unknown: \"jupyter/1\"\n")
    write(places.log, "[I] the server of the job before, which did well\n")
    answer = diagnosis.explain({}, failed(), {}, places)
    assert answer["cause"] == "module-missing" and answer["log"] == places.output
    assert len(answer["log_tail"]) == 1 and "are unknown" in answer["log_tail"][0]


def test_what_the_scheduler_said_stands_below_what_the_server_said(places):
    write(places.log, "[I] Serving\n")
    write(places.output, "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.\n")
    answer = diagnosis.explain({}, failed(), {"phase": "ready"}, places)
    assert answer["log"] == places.log
    assert answer["log_tail"] == ["[I] Serving", "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch."]


def test_what_a_keeper_chose_of_its_log_is_left_alone(places):
    write(places.output, "Welcome to the node\n")
    answer = diagnosis.explain({}, failed(), {"phase": "failed", "reason": "It died.", "log_tail": ["ImportError"]}, places)
    assert answer["log_tail"] == ["ImportError"] and answer["reason"] == "It died."


@pytest.mark.parametrize("kind, cause", [(base.FAILED, "walltime"), (base.TIME_LIMIT, "signal")])
def test_a_walltime_is_one_whoever_ends_the_job(places, kind, cause):
    server = {"phase": "ended", "cause": cause, "reason": "It ended."}
    job = base.Job("7", state=base.FINISHED, exit_kind=kind, exit_code=143)
    answer = diagnosis.explain({}, job, server, places)
    assert answer["cause"] == "time_limit" and "jupyter_renewals" in answer["reason"]
    assert session._state({"job": "7"}, job, server)[0] == "finished"


@pytest.mark.parametrize("text, cause", [
    ("/home/broome/.bashrc: line 3: conda: not there", "failed"),
    ("Entering the zoom room", "failed"),
    ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch", "memory"),
    ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch", "memory"),
    ("Out of memory: Killed process 12 (python3)", "memory"),
    ("Memory cgroup: OOM", "memory"),
])
def test_words_of_memory(places, text, cause):
    write(places.output, text + "\n")
    assert diagnosis.explain({}, failed(), {}, places)["cause"] == cause
