# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What OpenPBS, TORQUE and Slurm's PBS commands have in common: the words of qsub, qstat and qdel."""

import re

from . import base

JOB_ID = re.compile(r"\d{1,15}(\.[A-Za-z0-9._-]+)?\Z")
#: Dates as qstat -f prints them.
DATE = "%a %b %d %H:%M:%S %Y"
_UNKNOWN_ID = re.compile(r"(?:unknown job id(?: error)?|nonexistent job id:?)\s+(\S+)", re.IGNORECASE)

_STATES = {
    "Q": base.QUEUED,
    "W": base.QUEUED,  # its start time has not come
    "T": base.QUEUED,  # between two queues
    "H": base.HELD,
    "S": base.HELD,  # suspended
    "U": base.HELD,  # suspended, as somebody sits at the workstation
    "R": base.RUNNING,
    "B": base.RUNNING,
    "E": base.ENDING,
    "C": base.FINISHED,
    "F": base.FINISHED,
}
_WAITING = {
    "W": "its start time has not come",
    "T": "it is on its way to another queue",
    "S": "it is suspended",
    "U": "it is suspended, as its workstation is in use",
}
_HOLDS = {"u": "it is held by its owner", "o": "it is held by an operator", "s": "it is held by the system",
          "p": "it is held, for its owner's password failed"}
_HOPELESS = re.compile(r"can never run|queue not started|queue is not started|exceeds? (?:queue|server) limits|not enough total", re.IGNORECASE)


class Dialect(base.Scheduler):
    """Base of the three: qsub, qstat and qdel."""

    script_suffix = "pbs"
    commands_needed = ("qsub", "qstat", "qdel", "qselect")
    #: What ``qstat --version`` says of itself, as a regex.
    signature = None
    #: [(regex of what qsub says, advice)]
    advice = ()
    #: What qdel says of a job that has ended, as a regex.
    over = r"invalid for state of job"
    #: What a command says that could not ask its server, as a regex.
    unreachable = re.compile(
        r"cannot connect to server|couldn't connect to cluster|unable to communicate with|could not connect to trqauthd"
        r"|connection refused|no route to host|unknown host|no answer within|cannot resolve|can not resolve", re.IGNORECASE)

    @classmethod
    def detect(cls, finder):
        commands = finder.find_all(cls.commands_needed)
        missing = [name for name in ("qsub", "qstat", "qdel") if name not in commands]
        if missing:
            return base.Detected(None, "%s: no %s" % (cls.name, ", ".join(missing)))
        signature = re.compile(cls.signature, re.IGNORECASE | re.MULTILINE)
        done, settings = finder.ask([commands["qstat"], "--version"], lambda done: signature.search(done.out + "\n" + done.err))
        said = done.out + "\n" + done.err
        evidence = "%s --version says '%s'" % (commands["qstat"], base.words(said)[:80])
        if not signature.search(said):
            return base.Detected(None, "%s: %s" % (cls.name, evidence))
        return base.found(commands, settings, evidence)

    def resource_arguments(self, resources):
        """Values of ``-l``, each for an option of its own."""
        raise NotImplementedError

    def quote(self, text):
        """How an argument of qsub must be written so that it arrives as ``text``."""
        return text

    def submit(self, submission):
        resources = submission.resources
        argv = self.command("qsub", "-N", self.quote(submission.name))
        argv += self._options(resources)
        # A job that the server starts a second time after its own restart would be two Jupyters in one session.
        argv += ["-r", "n", "-j", "oe", "-o", self.output(submission.output)]
        argv += ["-m", "abe", "-M", self.quote(submission.mail)] if submission.mail else ["-m", "n"]
        if submission.after_failure_of:
            argv += ["-W", "depend=afternotok:" + submission.after_failure_of]
        done = self.run(argv + resources.arguments() + [self.quote(submission.script)],
                        timeout=base.SUBMIT_TIMEOUT, env=base.submit_environment())
        job_id = (done.out.split() or [""])[-1]
        if done.rc == 0 and JOB_ID.match(job_id):
            return job_id
        raise self.refusal(done)

    def output(self, path):
        return self.quote(path)

    def directives(self, resources, name):
        words = ["-N", name] + self._options(resources) + ["-r", "n", "-j", "oe", "-m", "n"]
        lines = ["%s %s" % (words[place], words[place + 1]) for place in range(0, len(words), 2)]
        return ["#PBS " + line for line in lines + list(resources.options)]

    def _options(self, resources):
        argv = []
        for value in self.resource_arguments(resources):
            argv += ["-l", value]
        if resources.queue:
            argv += ["-q", resources.queue]
        if resources.account:
            argv += ["-A", resources.account]
        return argv

    def refusal(self, done):
        said = base.complaint(done)
        if done.rc in (124, 126, 127) or self.unreachable.search(said):
            return base.Unreachable("qsub: " + said, done.rc)
        # A wrong option is answered with the usage, which says nothing of what was wrong.
        said = re.split(r"\s*\[?\busage:", said, flags=re.IGNORECASE)[0] or said
        if done.rc == 0:
            return base.Refused("qsub gave no job id: " + said, rc=done.rc)
        return base.Refused(said, base.advise(said, self.advice), done.rc)

    def cancel(self, job_id, seen=None):
        if not JOB_ID.match(job_id):
            return "unknown"
        done = self.query("qdel", job_id)
        if re.search(r"could not connect to mom", base.complaint(done), re.IGNORECASE):
            done = self.give_up(job_id, done)
        said = base.complaint(done)
        if done.rc == 0:
            return "cancelled"
        if said_unknown(said, job_id):
            return "unknown"
        if re.search(self.over, said, re.IGNORECASE):
            return "over"
        if re.search(r"unauthorized request", said, re.IGNORECASE):
            raise base.Refused(said, rc=done.rc)
        raise base.Unreachable("qdel: " + said)

    def give_up(self, job_id, done):
        """Cancel a job whose node does not answer.

        :param done: Completed, what qdel said.
        :returns: Completed of what came of it.
        :raises base.Unreachable: it can't be done by its user.
        """
        raise NotImplementedError

    def query(self, name, *arguments):
        return self.run(self.command(name, *arguments), timeout=base.QUERY_TIMEOUT)

    def split_ids(self, ids):
        """([ids that can be ids here], {the others: over})."""
        ids = list(ids)
        asked = [job_id for job_id in ids if JOB_ID.match(job_id)]
        return asked, dict((job_id, base.foreign(job_id, "PBS")) for job_id in ids if job_id not in asked)

    def selected(self):
        """Ids of the user's jobs, arrays and their parts left out."""
        done = self.query("qselect", "-u", self.user)
        if done.rc != 0:
            raise base.Unreachable("qselect: " + base.complaint(done))
        return [job_id for job_id in done.out.split() if JOB_ID.match(job_id)]

    def mine(self):
        ids = self.selected()
        if not ids:
            return []
        jobs = self.look(ids)
        lost = [job for job in jobs.values() if job.state == base.UNKNOWN]
        if lost and len(lost) == len(jobs):
            raise base.Unreachable(lost[0].reason)
        return [jobs[job_id] for job_id in ids if not jobs[job_id].over]


def find(jobs, job_id):
    """The job of that id; an id without its server matches too. The server's name may be written longer."""
    if job_id in jobs:
        return jobs[job_id]
    number, _dot, server = job_id.partition(".")
    for key, job in jobs.items():
        other_number, _dot, other_server = key.partition(".")
        if number == other_number and (not server or not other_server or server.split(".")[0] == other_server.split(".")[0]):
            return job
    return None


def said_unknown(text, job_id):
    """Whether the server said of this very id that it does not know it."""
    return find(dict((name.rstrip(":,"), True) for name in _UNKNOWN_ID.findall(text)), job_id) is not None


def state(letter):
    return _STATES.get(letter, base.UNKNOWN)


def waiting_reason(letter, comment, holds, depend):
    """Why a job does not run, in words, or None."""
    if letter == "H" and depend:
        return "it waits for another job to end (%s)" % base.words(depend)
    said = base.words(comment or "")
    if letter == "H" and not said:
        return "; ".join(_HOLDS[hold] for hold in holds or "" if hold in _HOLDS) or "it is held"
    meaning = _WAITING.get(letter)
    if meaning:
        return "%s (%s)" % (meaning, said) if said else meaning
    return said or None


def hopeless(comment):
    return bool(_HOPELESS.search(comment or ""))


def hosts(exec_host):
    """Host names of ``n1/0*2+n2/1``, each once, the one that runs the script first."""
    names = []
    for part in (exec_host or "").split("+"):
        name = part.partition("/")[0].strip()
        if re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", name) and name not in names:
            names.append(name)
    return names


def exit_code(status):
    """The exit status as a shell would give it: PBS writes 256 + signal for what it killed itself."""
    if status is None or status < 0:
        return None
    return 128 + status - 256 if status > 256 else status
