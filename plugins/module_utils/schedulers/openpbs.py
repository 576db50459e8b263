# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPBS and PBS Pro."""

import json
import re

from . import _pbs, base

# substate of a finished job
_TERMINATED, _FINISHED_WELL = 91, 92
# Negative exit statuses are the server's own words. -29 was seen; the others are those of the source of OpenPBS.
_WALLTIME, _MEMORY = (-29,), (-26, -27)
_LOST = (-4, -5, -15)


class OpenPBS(_pbs.Dialect):
    """OpenPBS 14 and later, PBS Professional 13 and later (qstat speaks JSON)."""

    name = "openpbs"
    signature = r"^pbs_version\s*="
    over = r"job has finished|invalid for state of job"
    advice = (
        (r"unknown queue|queue is not enabled|access to queue is denied", "Set jupyter_queue to a queue that takes jobs (qstat -Q lists them)."),
        (r"violates queue and/or server resource limits",
         "Ask for less (jupyter_walltime, jupyter_nodes, jupyter_cores, jupyter_memory) or choose another jupyter_queue."),
        (r"would exceed .*limit|max_queued|max_run", "A limit on your jobs is reached: end another job first, or choose another jupyter_queue."),
        (r"unknown resource:? (resource_list\.)?ngpus",
         "This cluster counts no GPUs as 'ngpus': unset jupyter_gpus and ask for them its way with jupyter_batch_options."),
        (r"unknown resource|cannot be used with select or place", "Correct jupyter_batch_options: the resource is not known here, or may not go with select."),
        (r"illegal attribute or resource value.*walltime", "Correct jupyter_walltime."),
        (r"illegal attribute or resource value.*(select|mem|ncpus)", "Correct jupyter_nodes, jupyter_cores or jupyter_memory."),
        (r"bad uid|unauthorized|bad gid", "Submit from a login node of the cluster, with an account that may use it (jupyter_account)."),
        (r"account|project", "Set jupyter_account to an account of yours."),
        (r"invalid option|illegal -\w value|undefined attribute|error \(15002\)", "Correct jupyter_batch_options: qsub does not take one of them."),
    )

    def resource_arguments(self, resources):
        # mpiprocs gives $PBS_NODEFILE a line per core, as elsewhere.
        chunk = "select=%d:ncpus=%d:mpiprocs=%d" % (resources.nodes, resources.cores, resources.cores)
        if resources.memory:
            chunk += ":mem=%dmb" % base.megabytes(resources.memory)
        if resources.gpus:
            chunk += ":ngpus=%d" % resources.gpus
        values = [chunk]
        if resources.nodes > 1:
            # Chunks may otherwise share a node.
            values.append("place=scatter")
        if resources.walltime:
            values.append("walltime=" + base.clock(resources.walltime))
        return values

    def look(self, ids):
        asked, jobs = self.split_ids(ids)
        if asked:
            jobs.update(self._ask(asked))
        return jobs

    def _ask(self, asked):
        done = self.query("qstat", "-x", "-f", "-F", "json", *asked)
        if re.search(r"not configured to maintain job history", done.err, re.IGNORECASE):
            # Without a history -x answers for nobody, with status 0; then a finished job is an unknown one.
            done = self.query("qstat", "-f", "-F", "json", *asked)
        found = parse(done.out)
        if found is None and len(asked) > 1:
            # One job's odd text spoils the answer for all of them.
            jobs = {}
            for job_id in asked:
                jobs.update(self._ask([job_id]))
            return jobs
        jobs = {}
        for job_id in asked:
            job = _pbs.find(found or {}, job_id)
            if job is not None:
                job.id = job_id
            elif found is None:
                job = base.unknown(job_id, "qstat's answer cannot be read: " + base.complaint(done))
            elif _pbs.said_unknown(done.err, job_id):
                job = base.forgotten(job_id, "PBS")
            elif re.search(r"%s\S* job has finished" % re.escape(job_id.partition(".")[0]), done.err, re.IGNORECASE):
                job = base.forgotten(job_id, "PBS")
            else:
                job = base.unknown(job_id, "qstat: " + base.complaint(done))
            jobs[job_id] = job
        return jobs

    def give_up(self, job_id, done):
        # Its node is dead: the server gives the job up only when told so.
        return self.query("qdel", "-W", "force", job_id)


def parse(text):
    """{id: Job} of ``qstat -f -F json``, or None when the text is not such an answer.

    Some versions print a name such as ``nan`` or ``+5`` bare, and backslashes and control characters raw.
    """
    answer = _loads(text)
    if answer is None:
        answer = _loads(_repaired(text))
    if not isinstance(answer, dict) or "pbs_version" not in answer:
        return None
    jobs = answer.get("Jobs", {})
    if not isinstance(jobs, dict):
        return None
    found = {}
    for job_id, attributes in jobs.items():
        if isinstance(attributes, dict) and _pbs.JOB_ID.match(job_id):
            found[job_id] = _job(job_id, attributes)
    return found


def _loads(text):
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


_BARE = re.compile(r'^(\s*"(?:[^"\\]|\\.)*":\s*)([^"\s{\[][^\n]*?)(,?)$', re.MULTILINE)
_BAD_ESCAPE = re.compile(r'\\(?!["\\/bfnrtu])|\\u(?![0-9a-fA-F]{4})')


def _repaired(text):
    def quote(match):
        try:
            json.loads(match.group(2))
            return match.group(0)
        except ValueError:
            return "%s%s%s" % (match.group(1), json.dumps(match.group(2)), match.group(3))
    # Pairs of backslashes are right as they are.
    text = re.sub(r"(\\\\)|" + _BAD_ESCAPE.pattern, lambda match: match.group(1) or "\\" + match.group(0), text)
    return _BARE.sub(quote, text)


def _text(value):
    """A value as text: a name of digits comes as a number."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    return str(value)


def _number(value):
    return value if isinstance(value, int) and not isinstance(value, bool) else base.whole(_text(value))


def _job(job_id, attributes):
    letter = _text(attributes.get("job_state"))
    state = _pbs.state(letter)
    comment = _text(attributes.get("comment"))
    limits = attributes.get("Resource_List")
    limits = limits if isinstance(limits, dict) else {}
    estimated = attributes.get("estimated")
    status, substate = _number(attributes.get("Exit_status")), _number(attributes.get("substate"))
    walltime = base.duration(_text(limits.get("walltime")))
    started = base.epoch(_text(attributes.get("stime")), _pbs.DATE)
    waits = state in (base.QUEUED, base.HELD)
    kind, code, reason, ends = None, None, None, None
    if state == base.FINISHED:
        kind, code, reason = _ending(status, substate, comment, _text(attributes.get("depend")))
        ends = base.epoch(_text(attributes.get("obittime")), _pbs.DATE) or _number(attributes.get("history_timestamp"))
    elif waits:
        reason = _pbs.waiting_reason(letter, comment, _text(attributes.get("Hold_Types")), _text(attributes.get("depend")))
    elif state == base.UNKNOWN:
        reason = "PBS says '%s', a state that is not known here" % base.words(letter)
    if started and walltime and state in (base.RUNNING, base.ENDING):
        ends = started + walltime
    predicted = None
    if state == base.QUEUED:
        predicted = base.epoch(_text(estimated.get("start_time")), _pbs.DATE) if isinstance(estimated, dict) else None
        predicted = predicted or base.epoch(_text(attributes.get("Execution_Time")), _pbs.DATE)
    return base.Job(
        job_id, name=base.words(_text(attributes.get("Job_Name"))) or None, state=state, reason=reason,
        nodes=_pbs.hosts(_text(attributes.get("exec_host"))), queue=base.words(_text(attributes.get("queue"))) or None,
        submitted=base.epoch(_text(attributes.get("ctime")), _pbs.DATE), started=started, ends=ends, walltime=walltime,
        exit_kind=kind, exit_code=code, hopeless=waits and _pbs.hopeless(comment), predicted_start=predicted,
        cores_total=_number(limits.get("ncpus")))


def _ending(status, substate, comment, depend):
    """(exit kind, exit code, reason) of a finished job."""
    code = _pbs.exit_code(status)
    if status in _WALLTIME:
        return base.TIME_LIMIT, None, "its walltime was up"
    if status in _MEMORY:
        return base.FAILED, None, "it used more memory than it asked for (raise jupyter_memory)"
    if status in _LOST:
        return base.NODE_LOST, None, "its node was lost: " + base.words(comment)
    if substate == _TERMINATED:
        return base.CANCELLED, code, "it was deleted"
    if status is None:
        if substate == _FINISHED_WELL and depend:
            return base.CANCELLED, None, "it was not needed: the job it followed had ended otherwise"
        return base.EXIT_UNKNOWN, None, base.words(comment) or None
    if status == 0:
        return base.CLEAN, 0, None
    return base.FAILED, code, base.words(comment) or None
