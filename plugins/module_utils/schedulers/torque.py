# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TORQUE, with whatever schedules for it (pbs_sched, Maui, Moab)."""

import re
from xml.etree import ElementTree

from . import _pbs, base

# Negative exit statuses are the server's own words. -11 was seen; the others are those of the source of TORQUE.
_WALLTIME, _LOST, _OVER_LIMIT = -11, (-4, -5, -6), -10
_DELETED = 271


class Torque(_pbs.Dialect):
    """TORQUE 4 and later (qstat -x prints XML)."""

    name = "torque"
    signature = r"^version:\s*\d"
    advice = (
        (r"unknown queue|queue is not enabled|access to queue is denied", "Set jupyter_queue to a queue that takes jobs (qstat -q lists them)."),
        (r"cannot locate feasible nodes", "No node has that much: lower jupyter_nodes, jupyter_cores or jupyter_gpus, or choose another jupyter_queue."),
        (r"resource limits", "Ask for less (jupyter_walltime, jupyter_nodes, jupyter_cores, jupyter_memory) or choose another jupyter_queue."),
        (r"maximum number of jobs|maximum .*already in queue", "A limit on your jobs is reached: end another job first, or choose another jupyter_queue."),
        (r"unknown resource type", "Correct jupyter_batch_options: the resource is not known here."),
        (r"illegal attribute or resource value.*walltime", "Correct jupyter_walltime."),
        (r"illegal attribute or resource value|command syntax invalid|may not mix",
         "Correct jupyter_nodes, jupyter_cores, jupyter_memory or jupyter_batch_options."),
        (r"invalid job dependency", "The job to follow has ended already, or is no longer known."),
        (r"bad uid|ruserok failed|bad gid", "Submit from a login node of the cluster, with an account that may use it (jupyter_account)."),
        (r"account", "Set jupyter_account to an account of yours."),
        (r"invalid option|illegal -\w|undefined attribute", "Correct jupyter_batch_options: qsub does not take one of them."),
    )

    def resource_arguments(self, resources):
        # select= is accepted here, and means nothing.
        value = "nodes=%d:ppn=%d" % (resources.nodes, resources.cores)
        if resources.gpus:
            value += ":gpus=%d" % resources.gpus
        if resources.walltime:
            value += ",walltime=" + base.clock(resources.walltime)
        if resources.memory:
            # mem counts for the whole job.
            value += ",mem=%dmb" % (base.megabytes(resources.memory) * resources.nodes)
        return [value]

    def look(self, ids):
        asked, jobs = self.split_ids(ids)
        if not asked:
            return jobs
        done = self.query("qstat", "-f", "-x", *asked)
        found = parse(done.out)
        for job_id in asked:
            job = _pbs.find(found, job_id)
            if job is not None:
                job.id = job_id
            elif done.rc == 153 and _pbs.said_unknown(done.err, job_id):
                job = base.forgotten(job_id, "TORQUE")
            else:
                job = base.unknown(job_id, "qstat: " + base.complaint(done))
            jobs[job_id] = job
        return jobs

    def give_up(self, job_id, done):
        if done.rc == 0:
            return done
        raise base.Unreachable(
            "qdel: %s (its node does not answer; an operator can give the job up with qdel -p)" % base.complaint(done))


_JOB = re.compile(r"<Job>.*?</Job>", re.DOTALL)
_FORBIDDEN = re.compile(u"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse(text):
    """{id: Job} of ``qstat -f -x``: several documents one after the other, control characters and all."""
    found = {}
    for block in _JOB.findall(_FORBIDDEN.sub("?", text)):
        try:
            element = ElementTree.fromstring(block.encode("utf-8"))
        except (ElementTree.ParseError, ValueError):
            continue
        job_id = (element.findtext("Job_Id") or "").strip()
        if _pbs.JOB_ID.match(job_id):
            found[job_id] = _job(job_id, element)
    return found


def _job(job_id, element):
    def get(name):
        return (element.findtext(name) or "").strip()

    letter = get("job_state")
    state = _pbs.state(letter)
    comment, depend = get("comment"), get("depend")
    walltime = base.duration(get("Resource_List/walltime"))
    started = base.whole(get("start_time"))
    waits = state in (base.QUEUED, base.HELD)
    kind, code, reason, ends = None, None, None, None
    if state == base.FINISHED:
        kind, code, reason = _ending(base.whole(get("exit_status")), comment)
        # A job that was deleted in the queue has no comp_time.
        ends = base.whole(get("comp_time")) or base.whole(get("mtime"))
    elif waits:
        reason = _pbs.waiting_reason(letter, comment, get("Hold_Types"), depend)
    elif state == base.UNKNOWN:
        reason = "TORQUE says '%s', a state that is not known here" % base.words(letter)
    if started and walltime and state in (base.RUNNING, base.ENDING):
        ends = started + walltime
    return base.Job(
        job_id, name=base.words(get("Job_Name")) or None, state=state, reason=reason, nodes=_pbs.hosts(get("exec_host")),
        queue=base.words(get("queue")) or None, submitted=base.whole(get("ctime")), started=started, ends=ends, walltime=walltime,
        exit_kind=kind, exit_code=code, hopeless=waits and _pbs.hopeless(comment),
        predicted_start=base.whole(get("Execution_Time")) if state == base.QUEUED else None, cores_total=_cores(get("Resource_List/nodes")))


def _cores(nodes):
    """Cores of ``2:ppn=4+1:ppn=2``, or None."""
    total = 0
    for part in nodes.split("+") if nodes else []:
        count, _colon, properties = part.partition(":")
        ppn = re.search(r"(?:^|:)ppn=(\d{1,6})(?::|$)", properties)
        total += (base.whole(count) or 1) * (int(ppn.group(1)) if ppn else 1)
    return total or None


def _ending(status, comment):
    """(exit kind, exit code, reason) of a completed job."""
    if status is None:
        return base.CANCELLED, None, "it was deleted before it ran"
    if status == _WALLTIME:
        return base.TIME_LIMIT, None, "its walltime was up"
    if status in _LOST:
        return base.NODE_LOST, None, "its node was lost"
    if status == _OVER_LIMIT:
        return base.FAILED, None, "it used more than it asked for (raise jupyter_memory)"
    if re.search(r"deleted as result of dependency", comment, re.IGNORECASE):
        return base.CANCELLED, None, base.words(comment)
    if status == _DELETED:
        return base.CANCELLED, _pbs.exit_code(status), "it was deleted"
    if status == 0:
        return base.CLEAN, 0, None
    return base.FAILED, _pbs.exit_code(status), None
