# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm through its PBS commands, where a site offers nothing else.

They say less than Slurm's own: every ending reads C, so how a job ended is not
known, and a job that can never start reads Q like any other.
"""

import re
import shlex

from . import _pbs, base, slurm


class SlurmPBS(_pbs.Dialect):
    """qsub, qstat and qdel of Slurm (package slurm-torque or slurm-wlm-torque)."""

    name = "slurm_pbs"
    signature = r"^unknown option: version"
    commands_needed = ("qsub", "qstat", "qdel")
    advice = slurm.ADVICE

    def resource_arguments(self, resources):
        # Of two -l options the last would win: one. Unlike nodes=, select= lays the cores out evenly.
        value = "select=%d:ncpus=%d:mpiprocs=%d" % (resources.nodes, resources.cores, resources.cores)
        if resources.memory:
            value += ":mem=%dmb" % base.megabytes(resources.memory)
        if resources.walltime:
            value += ",walltime=" + base.clock(resources.walltime)
        if resources.gpus:
            value += ",naccelerators=%d" % resources.gpus
        return [value]

    def directives(self, resources, name):
        # sbatch reads these lines by other rules than qsub its options: walltime on a line of its own, or it is an error.
        lines = []
        for line in super(SlurmPBS, self).directives(resources, name):
            head, _comma, rest = line.partition(",")
            lines += [head] + ["#PBS -l " + part for part in rest.split(",") if part] if line.startswith("#PBS -l ") else [line]
        return lines

    def quote(self, text):
        # qsub hands its arguments to a shell.
        return shlex.quote(text)

    def output(self, path):
        # % introduces a pattern in a file name of Slurm's.
        return self.quote(path.replace("%", "%%"))

    def refusal(self, done):
        # Errors come on stdout, wrapped in what qsub did.
        match = re.search(r"and the output was:\s*'(.*?)\s*'?\s*$", done.out, re.DOTALL)
        said = base.words(match.group(1)) if match else base.complaint(done)
        if done.rc in (124, 126, 127) or slurm.UNREACHABLE.search(said):
            return base.Unreachable("qsub: " + said, done.rc)
        said = re.split(r"\s*\busage:", said, flags=re.IGNORECASE)[0] or said
        return base.Refused(said, base.advise(said, self.advice), done.rc)

    def look(self, ids):
        asked, jobs = slurm.split_ids(ids)
        if not asked:
            return jobs
        done = self.query("qstat", "-f", *asked)
        found = parse(done.out)
        for job_id in asked:
            if job_id in found:
                jobs[job_id] = found[job_id]
            elif len(asked) > 1 and done.rc in (0, 153):
                # Unknown ids are passed over in silence. Alone, it must be answered with 153, and with not a word.
                jobs.update(self.look([job_id]))
            elif done.rc == 153 and not (done.out + done.err).strip():
                jobs[job_id] = base.forgotten(job_id, "Slurm")
            else:
                jobs[job_id] = base.unknown(job_id, "qstat: " + base.complaint(done))
        return jobs

    def selected(self):
        done = self.query("qstat", "-u", self.user)
        if done.rc != 0:
            raise base.Unreachable("qstat: " + base.complaint(done))
        ids = []
        for line in done.out.splitlines():
            words = line.split()
            # The state is the last but one column; finished jobs are listed for some minutes.
            if len(words) > 3 and re.match(r"\d{1,15}\Z", words[0]) and words[-2] != "C":
                ids.append(words[0])
        return ids

    def cancel(self, job_id, seen=None):
        # qdel says nothing, with status 1, for an unknown id and for a finished job: ask first.
        job = seen or self.look([job_id])[job_id]
        if job.state == base.UNKNOWN and not job.name:
            raise base.Unreachable(job.reason)
        if job.over:
            return "over" if job.name else "unknown"
        done = self.query("qdel", job_id)
        said = base.complaint(done)
        if done.rc == 0:
            return "cancelled"
        if not (done.out + done.err).strip():
            return "over"
        if re.search(r"permission denied", said, re.IGNORECASE):
            raise base.Refused(said, rc=done.rc)
        raise base.Unreachable("qdel: " + said)


def parse(text):
    """{id: Job} of ``qstat -f``: ``Job Id:`` and indented ``key = value`` lines."""
    found, fields = {}, None
    for line in text.splitlines():
        match = re.match(r"Job Id:\s*(\d{1,15})\s*\Z", line)
        if match:
            fields = found.setdefault(match.group(1), {})
            continue
        match = re.match(r"\s+([A-Za-z_.]+) = (.*)\Z", line)
        if match and fields is not None:
            fields.setdefault(match.group(1), match.group(2).strip())
    return dict((job_id, _job(job_id, fields)) for job_id, fields in found.items() if "job_state" in fields)


def _job(job_id, fields):
    letter = fields["job_state"]
    # Here U is no workstation's: it is a state that qstat has no letter for.
    state = base.UNKNOWN if letter == "U" else _pbs.state(letter)
    # qtime, mtime and ctime are the times of submission, of the (expected) start and of the end.
    submitted, start, end = (base.epoch(fields.get(name, ""), _pbs.DATE) for name in ("qtime", "mtime", "ctime"))
    nodes = _pbs.hosts(fields.get("exec_host"))
    ran = state in (base.RUNNING, base.ENDING, base.HELD) or (state == base.FINISHED and bool(nodes))
    kind, reason = None, None
    if state == base.FINISHED:
        kind, reason = base.EXIT_UNKNOWN, "Slurm's qstat does not say how it ended"
    elif state == base.HELD:
        reason = "it is suspended"
    elif state == base.UNKNOWN:
        reason = "Slurm's qstat says '%s', a state that is not known here" % base.words(letter)
    return base.Job(
        job_id, name=base.words(fields.get("Job_Name", "")) or None, state=state, reason=reason, nodes=nodes,
        queue=base.words(fields.get("queue", "")) or None, submitted=submitted, started=start if ran else None,
        ends=end if ran or state == base.FINISHED else None, walltime=base.duration(fields.get("Resource_List.walltime", "")),
        exit_kind=kind, predicted_start=start if state == base.QUEUED else None,
        cores_total=base.whole(fields.get("Resource_List.ncpus")))
