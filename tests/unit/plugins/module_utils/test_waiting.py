# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits on the login node."""

import json
import time as real_time

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils import files, session_verbs, waiting
from ansible_collections.hpc.jupyter.plugins.module_utils import session as sessions
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.nfs_client import remember_what_is_missing
from ansible_collections.hpc.jupyter.tests.unit.plugins.module_utils.session_maker import make_session

START = 1000000.0


class Clock(object):
    """A time that passes only while somebody sleeps; things happen at their moments.

    :ivar plan: dict by seconds from the start, of functions.
    """

    localtime, strftime = real_time.localtime, real_time.strftime

    def __init__(self):
        self.now = START
        self.plan = {}

    @property
    def passed(self):
        return self.now - START

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        for moment in sorted(self.plan):
            if moment <= self.passed:
                self.plan.pop(moment)()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (waiting, sessions, files):
        monkeypatch.setattr(module, "time", clock)
    return clock


def queued(job_id="1"):
    return base.Job(job_id, name="jupyter-default", state=base.QUEUED, reason="Priority")


def says(session, phase, **more):
    """Write server.json, as the session's job does."""
    record = session.record()
    with open(session.places.server, "w") as stream:
        json.dump(dict({"id": record["id"], "job": record["job"], "phase": phase, "node": "node1"}, **more), stream)


def follow(session, clock, seconds, monkeypatch):
    """Look at a session again and again, as the controller does, until it is none that waits; return the moments of all queries."""
    asked = []
    answer = session.scheduler.look
    session.scheduler.look = lambda ids: (asked.append(clock.passed), answer(ids))[1]
    monkeypatch.setattr(sessions, "scheduler_of", lambda site, facts: session.scheduler)
    view = session_verbs.look({"batch_dir": session.site.path, "session": "default", "hold": 25})
    while clock.passed < seconds and sessions.waits(view):
        view = json.loads(json.dumps(view))
        view = session_verbs.look({"batch_dir": session.site.path, "session": "default", "hold": 25,
                                   "seen": view["fingerprint"], "asked": view["asked"]})
    return asked


def steps(values):
    return [values[place + 1] - values[place] for place in range(len(values) - 1)]


@pytest.mark.parametrize("interval, most", [(0, 140), (60, 61), (300, 13)])
def test_the_scheduler_is_asked_farther_and_farther_apart(tmp_path, clock, monkeypatch, interval, most):
    session = make_session(tmp_path, {"job": "1"}, queued(), poll_interval=interval)
    asked = follow(session, clock, 3600, monkeypatch)
    gaps = steps(asked)
    assert asked[0] == 0 and 10 < len(asked) <= most
    assert min(gaps) >= max(1, interval)
    assert min(steps(gaps)) >= -waiting.LONGEST_FILE_INTERVAL, "never closer again"


def test_a_job_that_starts_is_looked_at_closely_again(tmp_path, clock, monkeypatch):
    session = make_session(tmp_path, {"job": "1"}, queued())
    clock.plan[1000] = lambda: session.scheduler.jobs.update({"1": base.Job("1", state=base.RUNNING, nodes=["node1"])})
    # It ends at once, and its output is spooled: no file tells anything of it.
    clock.plan[1040] = lambda: session.scheduler.jobs.update({"1": base.Job("1", state=base.FINISHED, exit_kind=base.FAILED)})
    asked = follow(session, clock, 3600, monkeypatch)
    assert 1040 <= asked[-1] <= 1040 + 20


def test_a_job_that_starts_soon_costs_no_question(tmp_path, clock):
    session = make_session(tmp_path, {"job": "1"})
    session.seen = (clock.time(), base.Job("1", state=base.QUEUED))
    clock.plan.update({0.3: lambda: says(session, "starting"), 0.9: lambda: says(session, "ready")})
    view = waiting.for_news(session, sessions.fingerprint(session.view(asked=False)), 25, submitted=True)
    assert (view["state"], view["node"]) == ("starting", "node1")
    view = waiting.for_news(session, sessions.fingerprint(view), 25, told=view["asked"])
    assert view["state"] == "ready" and clock.passed < 1 and session.scheduler.asked == []


def test_a_new_job_is_asked_for_within_the_time_that_is_waited(tmp_path, clock):
    session = make_session(tmp_path, {"job": "1"}, queued())
    session.seen = (clock.time(), base.Job("1", state=base.QUEUED))
    assert waiting.for_news(session, None, 0, submitted=True)["reason"] == "Priority"


def test_a_keeper_that_is_killed_is_noticed_by_the_scheduler(tmp_path, clock):
    session = make_session(tmp_path, {"job": "1"}, base.Job("1", state=base.FINISHED, exit_kind=base.FAILED))
    session.seen = (clock.time(), base.Job("1", state=base.QUEUED))
    says(session, "starting")
    view = waiting.for_news(session, sessions.fingerprint(session.view(asked=False)), 25, submitted=True)
    while sessions.waits(view) and clock.passed < 60:
        view = waiting.for_news(session, sessions.fingerprint(view), 25, told=view["asked"])
    assert view["state"] == "failed" and clock.passed < 15


def test_a_stop_by_somebody_else_is_noticed_at_once(tmp_path, clock):
    session = make_session(tmp_path, {"job": "1"}, queued())
    seen = sessions.fingerprint(session.view())
    clock.plan[3] = lambda: files.write_json(session.places.record, dict(session.record(), job=None, jobs=["1"]))
    view = waiting.for_news(session, seen, 25)
    assert view["state"] == "none" and clock.passed < 3.2


def test_a_home_on_nfs_shows_readiness_within_a_second(tmp_path, clock, monkeypatch):
    """An NFS client remembers for half a minute that a file was missing, unless its directory is opened."""
    session = make_session(tmp_path, {"job": "1"}, queued())
    session.seen = (clock.time(), base.Job("1", state=base.QUEUED))
    remember_what_is_missing(monkeypatch)
    clock.plan[4] = lambda: says(session, "ready")
    view = waiting.for_news(session, sessions.fingerprint(session.view(asked=False)), 25, submitted=True)
    while view["state"] != "ready":
        view = waiting.for_news(session, sessions.fingerprint(view), 25, told=view["asked"])
    assert clock.passed < 5
