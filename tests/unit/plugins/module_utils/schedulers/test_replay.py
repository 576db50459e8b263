# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness itself: it must refuse what was never recorded, or it proves nothing."""

import json
import re

import pytest
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.schedulers import replay


@pytest.mark.parametrize("recording, argv", [
    ("openpbs-23.06.06", ["qstat", "-x", "-f", "-F", "xml", "1.pbs-login"]),
    ("openpbs-23.06.06", ["qstat", "-f", "-x", "-F", "json"]),
    ("openpbs-23.06.06", ["qdel", "-p", "1.pbs-login"]),
    ("openpbs-23.06.06", ["qsub", "-t", "1-2", "job.sh"]),
    ("openpbs-23.06.06", ["qsub", "-l", "select=1:ncpus=1:gpus=1", "job.sh"]),
    ("torque-6.1.3", ["qstat", "-f", "-F", "json", "1.tq-login.torque.test"]),
    ("torque-6.1.3", ["qstat", "-x", "-f", "-F", "json", "1.tq-login.torque.test"]),
    ("torque-6.1.3", ["qsub", "-l", "place=scatter", "job.sh"]),
    ("torque-6.1.3", ["qsub", "-W", "block=true", "job.sh"]),
    ("slurm-22.05-forms", ["squeue", "--json", "-j", "1"]),
    ("slurm-22.05-forms", ["squeue", "-h", "-t", "all", "-j", "1", "-o", "%i|%X"]),
    ("slurm-22.05-forms", ["scontrol", "show", "job", "1", "--json"]),
    ("slurm-22.05-forms", ["sbatch", "--parsable", "--wrap=true"]),
    ("slurm-22.05-forms", ["qstat", "-x", "1"]),
    ("slurm-22.05-forms", ["qsub", "-k", "oe", "job.sh"]),
])
def test_what_was_never_recorded_is_refused(recording, argv):
    with pytest.raises(replay.Unrecorded):
        replay.known(recording).check(argv)


@pytest.mark.parametrize("recording, argv", [
    ("openpbs-23.06.06", ["qstat", "-x", "-f", "-F", "json", "7.other-server"]),
    ("openpbs-23.06.06", ["/opt/pbs/bin/qdel", "-W", "force", "7.other-server"]),
    ("torque-6.1.3", ["qstat", "-f", "-x", "7.other", "8.other"]),
    ("slurm-22.05-forms", ["scontrol", "show", "job", "12345"]),
])
def test_ids_and_places_are_free(recording, argv):
    replay.known(recording).check(argv)


def test_an_answer_belongs_to_its_command_and_its_job():
    with pytest.raises(AssertionError):
        replay.Replay("torque-6.1.3", "qdel-running")(["qstat", "-f", "-x", "150.tq-login.torque.test"])
    with pytest.raises(AssertionError):
        replay.Replay("torque-6.1.3", "qdel-running")(["qdel", "151.tq-login.torque.test"])


@pytest.mark.parametrize("recording", ["openpbs-23.06.06", "openpbs-head"])
def test_openpbs_prints_a_known_job_alike_with_x_and_without(recording):
    """The ground of SAME_ANSWER."""
    def job(name):
        answer = json.loads(re.sub(r'"timestamp":\s*\d+', '"timestamp":0', replay.load(recording)[name]["stdout"]))
        attributes = list(answer["Jobs"].values())[0]
        # It had gone on between the two.
        return dict((key, value) for key, value in attributes.items() if key not in ("substate", "session_id", "jobdir", "resources_used"))
    assert job("state-R") == job("state-R-x")
