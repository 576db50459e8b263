# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a session is ended."""

import json

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import files, stopping, waiting
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.session_maker import make_session


def running(job_id="1"):
    return base.Job(job_id, name="jupyter-default", state=base.RUNNING, started=5)


class Cluster(object):
    """A session whose job runs; its keeper obeys, its scheduler does as it is told."""

    def __init__(self, directory, obeys=True, **record):
        self.session = make_session(directory, dict({"job": "1"}, **record), running())
        self.obeys = obeys
        self.ends_at = None
        files.write_json(self.session.places.server, {"id": "a" * 32, "job": "1", "phase": "ready"})
        self.session.scheduler.cancel = self.cancel
        self.now = 1000000.0

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        control = files.read_json(self.session.places.control) or {}
        if self.obeys and control.get("stop") and self.ends_at is None:
            files.write_json(self.session.places.server, {"id": "a" * 32, "job": "1", "phase": "ended"})
            self.ends_at = self.now + 0.6
        if self.ends_at is not None and self.now >= self.ends_at:
            self.session.scheduler.jobs["1"] = base.Job("1", name="jupyter-default", state=base.FINISHED, exit_kind=base.CLEAN)

    def cancel(self, job_id, seen=None):
        self.session.scheduler.asked.append(("cancel", job_id, seen and seen.state))
        self.ends_at = self.now + 0.5
        return "cancelled"


@pytest.fixture
def clock(monkeypatch):
    def use(cluster):
        monkeypatch.setattr(waiting, "time", cluster)
        return cluster
    return use


def test_a_job_that_ends_in_order_is_not_cancelled(tmp_path, clock):
    cluster = clock(Cluster(tmp_path))
    view, changed = stopping.stop(cluster.session, {})
    assert (view["state"], changed) == ("stopped", True)
    asked = [one[0] for one in cluster.session.scheduler.asked]
    assert "cancel" not in asked and len(asked) <= 4, asked


def test_a_keeper_that_does_not_obey_is_cancelled(tmp_path, clock):
    cluster = clock(Cluster(tmp_path, obeys=False))
    view, changed = stopping.stop(cluster.session, {"grace": 3})
    assert (view["state"], changed, cluster.session.record()["job"]) == ("stopped", True, None)
    assert [one for one in cluster.session.scheduler.asked if one[0] == "cancel"] == [("cancel", "1", base.RUNNING)]


def test_a_job_whose_last_steps_hang_is_cancelled(tmp_path, clock):
    cluster = clock(Cluster(tmp_path))
    sleep = cluster.sleep

    def hanging(seconds):
        sleep(seconds)
        if not any(one[0] == "cancel" for one in cluster.session.scheduler.asked):
            cluster.session.scheduler.jobs["1"] = running()

    cluster.sleep = hanging
    stopping.stop(cluster.session, {})
    assert ("cancel", "1", base.RUNNING) in cluster.session.scheduler.asked
    assert json.loads(open(cluster.session.places.record).read())["job"] is None
