# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm through its own commands."""

import os
import re

from . import base

# One line a job; every letter is a field of squeue(1). The name comes last: it alone may hold a '|'.
_FORMAT = "%i|%P|%T|%r|%N|%S|%e|%l|%C|%B|%j"
_FIELDS = ("id", "partition", "state", "reason", "nodes", "start", "end", "limit", "cores", "batch_host", "name")
_TIME = "%Y-%m-%dT%H:%M:%S"

_STATES = {
    "PENDING": base.QUEUED,
    "CONFIGURING": base.QUEUED,
    "REQUEUED": base.QUEUED,
    "REQUEUE_FED": base.QUEUED,
    "REQUEUE_HOLD": base.HELD,
    "RESV_DEL_HOLD": base.HELD,
    "SPECIAL_EXIT": base.HELD,
    "SUSPENDED": base.HELD,
    "STOPPED": base.HELD,
    "RUNNING": base.RUNNING,
    "RESIZING": base.RUNNING,
    "COMPLETING": base.ENDING,
    "SIGNALING": base.ENDING,
    "STAGE_OUT": base.ENDING,
    "COMPLETED": base.FINISHED,
    "FAILED": base.FINISHED,
    "TIMEOUT": base.FINISHED,
    "DEADLINE": base.FINISHED,
    "CANCELLED": base.FINISHED,
    "PREEMPTED": base.FINISHED,
    "NODE_FAIL": base.FINISHED,
    "BOOT_FAIL": base.FINISHED,
    "OUT_OF_MEMORY": base.FINISHED,
    "REVOKED": base.FINISHED,
}
_EXIT_KINDS = {
    "COMPLETED": base.CLEAN,
    "FAILED": base.FAILED,
    "OUT_OF_MEMORY": base.FAILED,
    "TIMEOUT": base.TIME_LIMIT,
    "DEADLINE": base.TIME_LIMIT,
    "CANCELLED": base.CANCELLED,
    "PREEMPTED": base.CANCELLED,
    "NODE_FAIL": base.NODE_LOST,
    "BOOT_FAIL": base.NODE_LOST,
}
_ENDINGS_IN_WORDS = {
    "OUT_OF_MEMORY": "it used more memory than it asked for (raise jupyter_memory)",
    "DEADLINE": "its deadline passed",
    "PREEMPTED": "a job of higher priority took its nodes",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "TIMEOUT": "its time limit was up",
}

# Waiting for one of these, a job waits for somebody to change something: (regex of the reason, words).
_HOPELESS = (
    (r"DependencyNeverSatisfied", "the job it waits for ended in a way that never starts it"),
    (r"BadConstraints|ConstraintsNotSatisf", "no node can ever satisfy what it asks for; change jupyter_cores, jupyter_memory, jupyter_gpus or jupyter_nodes"),
    (r"PartitionDown", "the partition is down: it takes jobs, but starts none; choose another jupyter_queue"),
    (r"PartitionInactive", "the partition is inactive: it neither takes nor starts jobs; choose another jupyter_queue"),
    (r"PartitionNodeLimit", "it asks for more (or fewer) nodes than the partition allows; change jupyter_nodes or jupyter_queue"),
    (r"PartitionTimeLimit", "it asks for more time than the partition allows; change jupyter_walltime or jupyter_queue"),
    (r"(QOS|Assoc).*(PerJob|WallDurationPerJob|MinCpu|MinNode|MinGRES|MinCpuNotSatisfied|NotSatisfied)",
     "it asks for more than one job of yours may have; change jupyter_nodes, jupyter_cores, jupyter_memory or jupyter_walltime"),
    (r"QOSTimeLimit|TimeLimit$", "it asks for more time than is allowed; change jupyter_walltime"),
    (r"InvalidAccount|AccountNotAllowed|InvalidAssociation", "the account is not allowed here; change jupyter_account"),
    (r"InvalidQOS|QOSNotAllowed", "the quality of service is not allowed here; change jupyter_batch_options or jupyter_queue"),
    (r"ReservationDeleted", "its reservation was deleted; change jupyter_batch_options"),
    (r"JobHoldMaxRequeue|launch.failed|JobLaunchFailure", "it failed to launch and is held"),
    (r"DeadLine", "its deadline cannot be met"),
)
# The other reasons that a person meets, in words.
_REASONS = (
    (r"^Priority$", "jobs of higher priority are ahead of it"),
    (r"^Resources$", "it is next, and waits for resources to become free"),
    (r"^Dependency$", "it waits for another job to end"),
    (r"^BeginTime$", "its start time has not come (after a node failure Slurm waits 2 minutes)"),
    (r"^JobHeldUser$", "it is held by its owner"),
    (r"^JobHeldAdmin$", "it is held by an administrator"),
    (r"^ReqNodeNotAvail", "a node that it needs is not available (drained, down or reserved)"),
    (r"^Nodes required for job are DOWN", None),
    (r"^(QOS|Assoc).*Max", "a limit of your account is reached; it starts when other jobs have ended"),
    (r"^(QOS|Assoc)Grp", "a limit of your group is reached; it starts when other jobs have ended"),
    (r"^Licenses$", "it waits for a license"),
    (r"^Reservation$", "it waits for its reservation to begin"),
)

UNREACHABLE = re.compile(
    r"unable to contact slurm controller|authentication error|munge encode failed|socket timed out|connection refused"
    r"|connection timed out|unable to establish controller|zero bytes were transmitted|slurm backup controller in standby"
    r"|could not establish a configuration source|unexpected message|communication connection failure|no answer within"
    r"|temporarily unable|slurm_load_jobs error: (?!invalid job id)|problem loading jobs", re.IGNORECASE)
# A rehearsal says so of nodes that are drained, too, for which a job would wait.
_NOT_AT_PRESENT = re.compile(r"requested node configuration is not available", re.IGNORECASE)
_NO_SUCH_JOB = re.compile(r"invalid job id specified", re.IGNORECASE)
_NOT_YOURS = re.compile(r"permission denied|access denied|not permitted", re.IGNORECASE)

ADVICE = (
    (r"time limit is invalid|invalid --time", "Ask for less time with jupyter_walltime, or choose another jupyter_queue."),
    (r"invalid partition|no partition specified|no default partition|group not permitted to use this partition|required partition not available",
     "Set jupyter_queue to a partition that you may use (sinfo -s lists them)."),
    (r"account", "Set jupyter_account to an account that may use this partition, or change jupyter_queue."),
    (r"invalid qos", "Change the QOS in jupyter_batch_options."),
    (r"memory specification", "Ask for less with jupyter_memory (it is per node), or choose another jupyter_queue."),
    (r"node count specification", "Ask for fewer nodes with jupyter_nodes, or choose another jupyter_queue."),
    (r"more processors requested|cpu count", "Ask for fewer cores with jupyter_cores (per node) or jupyter_nodes, or choose another jupyter_queue."),
    (r"gres", "Change jupyter_gpus: this cluster or partition has no such GPUs."),
    (r"invalid feature|invalid node name|reservation is invalid", "Correct jupyter_batch_options."),
    (r"dependency problem", "The job to follow is no longer known to Slurm."),
    (r"requested node configuration is not available",
     "No node has that much: lower jupyter_cores, jupyter_memory or jupyter_gpus, or choose another jupyter_queue."),
    (r"violates accounting/qos policy|job submit limit",
     "A limit of your account is reached: ask for less (jupyter_nodes, jupyter_cores, jupyter_walltime), or end another job first."),
    (r"unrecognized option|invalid option|unknown option", "Correct jupyter_batch_options: the submit command does not know one of them."),
)


class Slurm(base.Scheduler):
    """Slurm 17 and later, by sbatch, squeue, scontrol and scancel."""

    name = "slurm"
    script_suffix = "slurm"
    commands_needed = ("sbatch", "squeue", "scontrol", "scancel", "sacct")

    @classmethod
    def detect(cls, finder):
        commands = finder.find_all(cls.commands_needed)
        missing = [name for name in ("sbatch", "squeue", "scontrol", "scancel") if name not in commands]
        if missing:
            return base.Detected(None, "slurm: no " + ", ".join(missing))
        done, settings = finder.ask([commands["sbatch"], "--version"], _is_version)
        if not _is_version(done):
            return base.Detected(None, "slurm: %s --version: %s" % (commands["sbatch"], base.complaint(done)[:200]))
        return base.found(commands, settings, "%s says '%s'" % (commands["sbatch"], base.words(done.out)))

    def rehearse(self, submission, script):
        argv = self._submission(submission)
        # Without a script it reads one from its standard input.
        done = self.run(argv[:1] + ["--test-only"] + argv[1:], stdin=script, timeout=base.SUBMIT_TIMEOUT, env=base.submit_environment())
        if done.rc == 0:
            return ""
        said = base.complaint(done)
        if _NOT_AT_PRESENT.search(said):
            return said
        raise _refusal(done, "sbatch")

    def submit(self, submission):
        done = self.run(self._submission(submission) + [submission.script],
                        timeout=base.SUBMIT_TIMEOUT, env=base.submit_environment())
        # The id is the last line: a site's submit plugin may greet before it. CLUSTER follows on a federation.
        job_id = (done.out.split() or [""])[-1].split(";")[0]
        if done.rc == 0 and re.match(r"\d+\Z", job_id):
            return job_id
        raise _refusal(done, "sbatch")

    def _submission(self, submission):
        """The command that submits a job, but for its script."""
        resources = submission.resources
        _require_one_cluster(resources)
        argv = self.command("sbatch", "--parsable", "-J", submission.name)
        argv += self._arguments(resources)
        # A requeued job would start a second time under the same id, and no successor after a lost node.
        argv += ["--no-requeue", "-D", os.path.expanduser("~")]
        # % introduces a pattern in a file name. Appended to, for a renewal is not to wipe what the job before it said.
        argv += ["-o", submission.output.replace("%", "%%"), "--open-mode=append"]
        if submission.mail:
            argv += ["--mail-type=BEGIN,END,FAIL", "--mail-user=" + submission.mail]
        if submission.after_failure_of:
            argv += ["--dependency=afternotok:" + submission.after_failure_of, "--kill-on-invalid-dep=yes"]
        return argv + resources.arguments()

    def _arguments(self, resources):
        argv = ["-N%d" % resources.nodes, "--ntasks-per-node=%d" % resources.cores, "--cpus-per-task=1"]
        if resources.memory:
            argv.append("--mem=%dM" % base.megabytes(resources.memory))
        if resources.gpus:
            argv.append("--gres=gpu:%d" % resources.gpus)
        if resources.walltime:
            argv += ["-t", base.clock(resources.walltime)]
        if resources.queue:
            argv += ["-p", resources.queue]
        if resources.account:
            argv += ["-A", resources.account]
        return argv

    def directives(self, resources, name):
        _require_one_cluster(resources)
        lines = ["-J " + name] + self._directive_words(resources) + ["--no-requeue"] + list(resources.options)
        return ["#SBATCH " + line for line in lines]

    def _directive_words(self, resources):
        words, lines = self._arguments(resources), []
        while words:
            word = words.pop(0)
            lines.append(word + " " + words.pop(0) if re.match(r"-[a-zA-Z]\Z", word) else word)
        return lines

    def look(self, ids):
        asked, jobs = split_ids(ids)
        if not asked:
            return jobs
        done = self._query("squeue", "-h", "-t", "all", "-j", ",".join(asked), "-o", _FORMAT)
        if done.rc != 0 and not _NO_SUCH_JOB.search(done.err):
            jobs.update((job_id, base.unknown(job_id, "squeue: " + base.complaint(done))) for job_id in asked)
            return jobs
        listed = dict((job.id, job) for job in parse_squeue(done.out))
        for job_id in asked:
            job = listed.get(job_id)
            # squeue is silent about an id that it doesn't know, and has no exit code; that of a clean end needs no asking.
            if job is None or job.state == base.FINISHED and job.exit_kind != base.CLEAN:
                job = self._details(job_id, job)
            jobs[job_id] = job
        return jobs

    def _details(self, job_id, listed):
        done = self._query("scontrol", "show", "job", job_id)
        if done.rc == 0:
            job = parse_scontrol(done.out, job_id)
            if job is not None:
                return job
        if listed is not None:
            return listed
        if done.rc == 0 or not _NO_SUCH_JOB.search(done.err):
            return base.unknown(job_id, "scontrol: " + base.complaint(done))
        # Slurm forgets a finished job after MinJobAge (300 s); accounting, where a site has it, does not.
        done = self._query("sacct", "-X", "-n", "-P", "-j", job_id, "-o", ",".join(_SACCT_FIELDS))
        if done.rc == 0:
            job = parse_sacct(done.out, job_id)
            if job is not None and job.state == base.FINISHED:
                return job
        return base.forgotten(job_id, "Slurm")

    def mine(self):
        done = self._query("squeue", "-h", "-u", self.user, "-o", _FORMAT)
        if done.rc != 0:
            raise base.Unreachable("squeue: " + base.complaint(done))
        return parse_squeue(done.out)

    def cancel(self, job_id, seen=None):
        # scancel is silent, with status 0, for an unknown id and for a finished job: ask first.
        job = seen or self.look([job_id])[job_id]
        if job.state == base.UNKNOWN:
            raise base.Unreachable(job.reason)
        if job.state == base.FINISHED:
            return "unknown" if job.name is None else "over"
        done = self.run(self.command("scancel", job_id), timeout=base.QUERY_TIMEOUT)
        if done.rc == 0:
            return "cancelled"
        if re.search(r"already completing or completed|invalid job id", done.err, re.IGNORECASE):
            return "over"
        if _NOT_YOURS.search(done.err):
            raise base.Refused(base.complaint(done), rc=done.rc)
        raise base.Unreachable("scancel: " + base.complaint(done))

    def _query(self, name, *arguments):
        # A user's own SQUEUE_PARTITION or SLURM_TIME_FORMAT would change what is listed, and how.
        changes = dict((variable, None) for variable in os.environ
                       if re.match(r"(SQUEUE|SCONTROL|SACCT)_|SLURM_TIME_FORMAT$|SLURM_BITSTR_LEN\Z", variable))
        return self.run(self.command(name, *arguments), timeout=base.QUERY_TIMEOUT, env=changes)


def _require_one_cluster(resources):
    """Refuse to submit elsewhere: the same number may be another job here, and one that is not known here looks as if it had ended.

    :raises base.Refused:
    """
    for word in resources.arguments():
        if re.match(r"-M|--clusters?(=|\Z)", word):
            raise base.Refused(
                "%s: jobs of another cluster can't be followed from here." % word,
                "Take it out of jupyter_batch_options and name a login node of that cluster in the inventory, or have SLURM_CLUSTERS set there.")


def split_ids(ids):
    """([ids that can be ids of Slurm's], {the others: over})."""
    ids = list(ids)
    asked = [job_id for job_id in ids if re.match(r"\d{1,15}\Z", job_id)]
    return asked, dict((job_id, base.foreign(job_id, "Slurm")) for job_id in ids if job_id not in asked)


def _is_version(done):
    return done.rc == 0 and re.match(r"slurm\S* \d", done.out.strip()) is not None


def _refusal(done, command):
    said = base.complaint(done)
    if done.rc in (124, 126, 127) or UNREACHABLE.search(said):
        return base.Unreachable("%s: %s" % (command, said), done.rc)
    return base.Refused(said, base.advise(said, ADVICE), done.rc)


def parse_squeue(text):
    """Jobs of ``squeue -h -o`` in our format; lines that are not in it are left out."""
    jobs = []
    for line in text.splitlines():
        values = line.split("|", len(_FIELDS) - 1)
        if len(values) != len(_FIELDS) or not re.match(r"\d+\Z", values[0].strip()):
            continue
        fields = dict(zip(_FIELDS, (value.strip() for value in values)))
        jobs.append(_job(
            fields["id"], fields["name"], fields["partition"], fields["state"], fields["reason"], fields["nodes"],
            fields["batch_host"], None, fields["start"], fields["end"], fields["limit"],
            "0:0" if fields["state"] == "COMPLETED" else None, fields["cores"]))
    return jobs


def parse_scontrol(text, job_id):
    """The job of ``scontrol show job ID``, or None if that is not what ``text`` is."""
    if not re.match(r"\s*JobId=%s\s" % re.escape(job_id), text):
        return None
    fields = {}
    for line in text.splitlines():
        # Values may hold blanks (a name, a directory): a field begins at a word and '='.
        for match in re.finditer(r"(?:^|\s)([A-Za-z][A-Za-z0-9/:_*]*)=(.*?)(?=\s+[A-Za-z][A-Za-z0-9/:_*]*=|$)", line):
            fields.setdefault(match.group(1), match.group(2).strip())
    if "JobState" not in fields:
        return None
    name = re.match(r"\s*JobId=\d+(?: [A-Za-z]+=\S+)*? JobName=([^\n]*)", text)
    return _job(
        job_id, name.group(1) if name else None, fields.get("Partition"), fields["JobState"], fields.get("Reason", ""),
        fields.get("NodeList", ""), fields.get("BatchHost", ""), fields.get("SubmitTime", ""), fields.get("StartTime", ""),
        fields.get("EndTime", ""), fields.get("TimeLimit", ""), fields.get("ExitCode"), fields.get("NumCPUs"))


_SACCT_FIELDS = ("jobid", "state", "exitcode", "submit", "start", "end", "partition", "nodelist", "alloccpus", "jobname")


def parse_sacct(text, job_id):
    """The job of ``sacct -X -n -P``, or None. With an id used twice the last line is the newest."""
    job = None
    for line in text.splitlines():
        values = line.split("|", len(_SACCT_FIELDS) - 1)
        if len(values) != len(_SACCT_FIELDS) or values[0] != job_id:
            continue
        fields = dict(zip(_SACCT_FIELDS, values))
        # "CANCELLED by 20001"
        state = (fields["state"].split() or [""])[0].rstrip("+")
        job = _job(job_id, fields["jobname"], fields["partition"], state, "", fields["nodelist"], "", fields["submit"],
                   fields["start"], fields["end"], "", fields["exitcode"], fields["alloccpus"])
    return job


def _job(job_id, name, partition, state_word, reason_word, nodes, batch_host, submit, start, end, limit, exit_code, cores):
    state_word = state_word.upper()
    state = _STATES.get(state_word, base.UNKNOWN)
    reason_word = "" if reason_word in ("None", "(null)", "N/A") else reason_word
    started, ends = base.epoch(start, _TIME), base.epoch(end, _TIME)
    hopeless, predicted = False, None
    if state == base.QUEUED:
        predicted, started, ends = started, None, None
        if re.match(r"JobHeld|Dependency|JobHoldMaxRequeue", reason_word):
            state = base.HELD
    reason = _reason(state, state_word, reason_word)
    if state in (base.QUEUED, base.HELD):
        hopeless = base.advise(reason_word, _HOPELESS) is not None
    # A pending job's list is that of the nodes asked for.
    hosts = base.expand_hostlist(nodes) if state != base.QUEUED else []
    exit_kind, code = None, None
    if state == base.FINISHED and not hosts:
        # Cancelled in the queue: its start is that moment.
        started = None
    if state == base.FINISHED:
        exit_kind = _EXIT_KINDS.get(state_word, base.EXIT_UNKNOWN)
        code = _exit_code(exit_code)
    if batch_host in hosts:
        hosts.remove(batch_host)
        hosts.insert(0, batch_host)
    return base.Job(
        job_id, name=base.words(name or "") or None, state=state, reason=reason, nodes=hosts,
        queue=base.words(partition or "") or None, submitted=base.epoch(submit or "", _TIME), started=started, ends=ends,
        walltime=base.duration(limit), exit_kind=exit_kind, exit_code=code, hopeless=hopeless, predicted_start=predicted,
        cores_total=base.whole(cores))


def _reason(state, state_word, reason_word):
    said = base.words(reason_word)
    if state == base.UNKNOWN:
        return "Slurm says %s, a state that is not known here" % (base.words(state_word) or "nothing")
    if state == base.FINISHED:
        meaning = _ENDINGS_IN_WORDS.get(state_word)
        # The reason is that of the last wait, not of the end.
        return meaning or (said if said in ("NonZeroExitCode", "JobLaunchFailure", "RaisedSignal") else None)
    if state == base.HELD and state_word in ("SUSPENDED", "STOPPED"):
        return "it is suspended" + (": " + said if said else "")
    if state_word == "CONFIGURING":
        return "its nodes are booting"
    if not said:
        return None
    meaning = base.advise(reason_word, _HOPELESS) or base.advise(reason_word, _REASONS)
    return "%s (%s)" % (meaning, said) if meaning else said


def _exit_code(text):
    """``7:0`` is 7; ``0:15``, ended by signal 15, is 143 as in a shell."""
    match = re.match(r"(\d{1,9}):(\d{1,9})\Z", text or "")
    if not match:
        return None
    code, number = int(match.group(1)), int(match.group(2))
    return code if code or not number else 128 + number
