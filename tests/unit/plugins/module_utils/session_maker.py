# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of a scheduler that is made up."""

import json

from ansible_collections.hpc.jupyter.plugins.module_utils import session as sessions
from ansible_collections.hpc.jupyter.plugins.module_utils.places import Site
from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base

FACTS = {"version": 1, "scheduler": "slurm", "commands": {}, "resources": {}, "job": {}}


class Scheduler(object):
    """A scheduler with these jobs; it notes what it is asked."""

    script_suffix = "slurm"

    def __init__(self, *jobs):
        self.jobs = dict((job.id, job) for job in jobs)
        self.asked = []

    def look(self, ids):
        self.asked.append(("look", list(ids)))
        return dict((one, self.jobs[one]) for one in ids)

    def cancel(self, job_id, seen=None):
        self.asked.append(("cancel", job_id))
        return "cancelled"

    def submit(self, submission):
        self.asked.append(("submit", submission.after_failure_of))
        return "99"

    def mine(self):
        self.asked.append(("mine",))
        return list(self.jobs.values())

    @property
    def cancelled(self):
        return [one[1] for one in self.asked if one[0] == "cancel"]


def make_session(directory, record, *jobs, **facts):
    """Return a session with this record, of a site whose scheduler has these jobs.

    :param directory: pathlib.Path, the batch directory.
    """
    places = Site(str(directory)).session("default")
    (directory / "sessions/default").mkdir(parents=True, exist_ok=True)
    (directory / "site.json").write_text(json.dumps(dict(FACTS, **facts)))
    session = sessions.Session(Site(str(directory)), "default")
    session._scheduler = Scheduler(*jobs)
    with open(places.record, "w") as stream:
        json.dump(dict({"version": 1, "session": "default", "id": "a" * 32, "scheduler": "slurm", "jobs": [],
                        "resources": base.Resources().as_dict()}, **record), stream)
    return session
