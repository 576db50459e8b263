# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every scheduler has in common: the normal form of a job, of its resources, and of a failure.

A scheduler module speaks one dialect (its commands and what they print) and
answers in these terms only. It knows nothing of sessions.
"""

import itertools
import os
import pwd
import re
import shlex
import time
from collections import namedtuple

from .. import files
from ..failure import sentence

#: What a command did: exit status (127 not found, 124 timed out), stdout, stderr as text.
Completed = namedtuple("Completed", "rc out err")

#: What detect found: commands is None when this scheduler is not here; evidence says why, in words.
Detected = namedtuple("Detected", "commands evidence")

QUEUED, HELD, RUNNING, ENDING, FINISHED, UNKNOWN = (
    "queued", "held", "running", "ending", "finished", "unknown")
#: Every state of a job. ``finished`` is said only when the scheduler knows it.
STATES = (QUEUED, HELD, RUNNING, ENDING, FINISHED, UNKNOWN)

CLEAN, FAILED, TIME_LIMIT, CANCELLED, NODE_LOST, EXIT_UNKNOWN = (
    "clean", "failed", "time_limit", "cancelled", "node_lost", "unknown")
#: How a finished job ended; ``unknown`` where the scheduler keeps no trace of it.
EXIT_KINDS = (CLEAN, FAILED, TIME_LIMIT, CANCELLED, NODE_LOST, EXIT_UNKNOWN)

#: Seconds allowed to a query; Slurm's commands give up on a dead controller after 18 s.
QUERY_TIMEOUT = 60
#: Seconds allowed to a submission.
SUBMIT_TIMEOUT = 120

# A message of a scheduler that is longer than this says nothing more to a person.
_MESSAGE_LIMIT = 2000
# More nodes than the largest machines have: an unbounded node[1-999999999] must not fill the memory.
_NODES_LIMIT = 20000


class SchedulerError(Exception):
    """Base of everything a scheduler module raises."""


class BadRequest(SchedulerError):
    """The resources asked for make no sense; the message names the variable and the remedy."""


class Refused(SchedulerError):
    """The scheduler said no.

    Attributes:
        message: the scheduler's own words, printable.
        advice: what to change, or None where the words are unknown to us.
        rc: exit status of the command.
    """

    def __init__(self, message, advice=None, rc=None):
        super(Refused, self).__init__(message)
        self.message = message
        self.advice = advice
        self.rc = rc

    def __str__(self):
        return self.message + ("\n" + self.advice if self.advice else "")

    @property
    def told(self):
        """The message and the advice as sentences (str)."""
        return " ".join(sentence(part) for part in (self.message, self.advice) if part)


# What clients say when they found nobody to talk to; after a time-out or a broken connection nobody knows.
_NEVER_CONNECTED = re.compile(r"connect failure|connection refused|(cannot|could not) connect to (default )?server", re.IGNORECASE)


class Unreachable(SchedulerError):
    """The scheduler did not answer, so nothing is known.

    :param rc: int, exit status of the command.
    """

    def __init__(self, message, rc=None):
        super(Unreachable, self).__init__(message)
        self.rc = rc

    @property
    def untouched(self):
        """Whether the request certainly never got there: its command could not be run, or found nobody to talk to."""
        return self.rc in (126, 127) or _NEVER_CONNECTED.search(str(self)) is not None


class NotFound(SchedulerError):
    """No scheduler on this host."""


class Job:
    """The normal form of a job.

    Attributes:
        id: the scheduler's id, as str.
        name: job name, or None.
        state: one of STATES.
        reason: why it is in this state, in words, or None.
        nodes: list of host names as the scheduler writes them, the one that runs the script first.
        queue: queue or partition, or None.
        submitted, started, ends: seconds since the epoch, or None; ``ends`` of a finished job is when it ended.
        walltime: limit in seconds, or None.
        exit_kind: one of EXIT_KINDS when finished, else None.
        exit_code: int, 128 + signal when a signal ended it, or None.
        hopeless: accepted, but it cannot start without a change by somebody.
        predicted_start: seconds since the epoch, or None.
        cores_total: cores over all nodes, or None.
    """

    FIELDS = ("id", "name", "state", "reason", "nodes", "queue", "submitted", "started", "ends",
              "walltime", "exit_kind", "exit_code", "hopeless", "predicted_start", "cores_total")
    __slots__ = FIELDS

    def __init__(self, id, name=None, state=UNKNOWN, reason=None, nodes=(), queue=None, submitted=None,
                 started=None, ends=None, walltime=None, exit_kind=None, exit_code=None, hopeless=False,
                 predicted_start=None, cores_total=None):
        self.id = id
        self.name = name
        self.state = state
        self.reason = reason
        self.nodes = list(nodes)
        self.queue = queue
        self.submitted = submitted
        self.started = started
        self.ends = ends
        self.walltime = walltime
        self.exit_kind = exit_kind
        self.exit_code = exit_code
        self.hopeless = hopeless
        self.predicted_start = predicted_start
        self.cores_total = cores_total

    @property
    def over(self):
        """True when the scheduler knows that the job has ended."""
        return self.state == FINISHED

    def as_dict(self):
        return dict((field, getattr(self, field)) for field in self.FIELDS)

    @classmethod
    def from_dict(cls, data):
        return cls(**dict((field, data[field]) for field in cls.FIELDS if field in data))

    def __eq__(self, other):
        return isinstance(other, Job) and self.as_dict() == other.as_dict()

    def __ne__(self, other):
        return not self == other

    __hash__ = None

    def __repr__(self):
        return "Job(%s)" % ", ".join(
            "%s=%r" % item for item in sorted(self.as_dict().items()) if item[1] not in (None, [], False))


class Resources:
    """What a job asks for. ``cores``, ``memory`` (bytes) and ``gpus`` are per node; ``walltime`` is in seconds.

    None leaves the choice to the site. ``options`` are further arguments of the
    submit command, each a str that is split as a shell would.
    """

    FIELDS = ("nodes", "cores", "memory", "gpus", "walltime", "queue", "account", "options")
    __slots__ = FIELDS

    def __init__(self, nodes=1, cores=1, memory=None, gpus=0, walltime=None, queue=None, account=None, options=()):
        self.nodes = nodes
        self.cores = cores
        self.memory = memory
        self.gpus = gpus
        self.walltime = walltime
        self.queue = queue
        self.account = account
        self.options = list(options)

    @classmethod
    def from_request(cls, request):
        """Reads what a person wrote (``4G``, ``01:30:00``, ``90m``, numbers).

        Raises:
            BadRequest: naming the variable and how to write it.
        """
        request = request or {}
        return cls(
            nodes=_count(request, "nodes", 1, 1),
            cores=_count(request, "cores", 1, 1),
            memory=parse_memory(request.get("memory")),
            gpus=_count(request, "gpus", 0, 0),
            walltime=parse_walltime(request.get("walltime")),
            queue=_word(request, "queue"),
            account=_word(request, "account"),
            options=_options(request.get("options")),
        )

    def as_dict(self):
        return dict((field, getattr(self, field)) for field in self.FIELDS)

    def arguments(self):
        """The free options as a list of arguments."""
        return [word for option in self.options for word in shlex.split(option)]

    def __eq__(self, other):
        return isinstance(other, Resources) and self.as_dict() == other.as_dict()

    def __ne__(self, other):
        return not self == other

    __hash__ = None

    def __repr__(self):
        return "Resources(%r)" % (self.as_dict(),)


class Submission:
    """One job to submit.

    Attributes:
        name: job name.
        script: path of the script.
        output: path of the file that takes stdout and stderr.
        resources: a Resources.
        mail: an address, or None.
        after_failure_of: id of the job whose bad end starts this one, or None.
    """

    __slots__ = ("name", "script", "output", "resources", "mail", "after_failure_of")

    def __init__(self, name, script, output, resources, mail=None, after_failure_of=None):
        self.name = name
        self.script = script
        self.output = output
        self.resources = resources
        self.mail = mail
        self.after_failure_of = after_failure_of


class Scheduler:
    """One dialect. Commands are run through ``run``, never through a shell.

    Args:
        run: ``run(argv, stdin=None, timeout=60, env=None) -> Completed``.
        commands: where the commands are, name -> absolute path; others are looked up on PATH.
            ``environment``, if there, is a dict of the variables that they need.
        directory: for a scheduler that keeps files of its own.
        user: whose jobs ``mine`` lists; by default the user of this process.
    """

    name = None
    #: Suffix of the deployed job script, ``jupyter.<suffix>``.
    script_suffix = None
    #: The commands it calls.
    commands_needed = ()

    def __init__(self, run, commands=None, directory=None, user=None):
        self.commands = dict(commands or {})
        settings = self.commands.pop("environment", None)
        self.run = _with_settings(run, settings) if settings else run
        self.directory = directory
        self.user = user or pwd.getpwuid(os.getuid()).pw_name

    @classmethod
    def detect(cls, finder):
        """Says whether this scheduler is on this host.

        :param finder: a _locate.Finder.
        :returns: Detected.
        """
        raise NotImplementedError

    def submit(self, submission):
        """Submits and returns the job id.

        Raises:
            Refused: the scheduler said no; nothing was queued.
            Unreachable: it did not answer.
        """
        raise NotImplementedError

    def rehearse(self, submission, script):
        """Asks whether a job would be taken, with nothing queued.

        Args:
            submission: as for ``submit``; its script need not exist.
            script: the text of that script (str).

        Returns None where that can't be asked, else a str: "" for yes, or what is in the way now and may pass.

        Raises:
            Refused: the scheduler would say no.
            Unreachable: it did not answer.
        """
        return None

    def look(self, ids):
        """Returns {id: Job} for all ``ids``. Never raises: what could not be asked is ``unknown``."""
        raise NotImplementedError

    def mine(self):
        """Returns the user's jobs that the scheduler lists.

        Raises:
            Unreachable: it did not answer.
        """
        raise NotImplementedError

    def cancel(self, job_id, seen=None):
        """Returns ``cancelled``, ``over`` (had ended before) or ``unknown`` (no such id).

        Args:
            seen: the Job as it was looked at a moment ago, which spares those a query that would have to ask first.

        Raises:
            Refused: not the user's job.
            Unreachable: it did not answer.
        """
        raise NotImplementedError

    def directives(self, resources, name):
        """Header lines for a script that is submitted by hand."""
        raise NotImplementedError

    def command(self, name, *arguments):
        """argv of a command, by its remembered path."""
        return [self.commands.get(name, name)] + list(arguments)


def _with_settings(run, settings):
    def run_with_settings(argv, stdin=None, timeout=60, env=None):
        return run(argv, stdin=stdin, timeout=timeout, env=dict(settings, **(env or {})))
    return run_with_settings


def found(commands, settings, evidence):
    """What detect returns for a scheduler that is here."""
    return Detected(dict(commands, environment=settings) if settings else commands, evidence)


def words(text):
    """One printable line of what a command said."""
    return files.printable(" ".join(text.split()))[:_MESSAGE_LIMIT]


def complaint(done):
    """What a failed command said, stderr first, or what its exit status means."""
    said = words(done.err) or words(done.out)
    if said:
        return said
    if done.rc == 124:
        return "no answer in time"
    return "exit status %d and no message" % done.rc


def unknown(job_id, reason):
    return Job(job_id, state=UNKNOWN, reason=words(reason))


def forgotten(job_id, who):
    """A job that the scheduler, asked properly, no longer knows: it is over, and how it ended is lost."""
    return Job(job_id, state=FINISHED, exit_kind=EXIT_UNKNOWN,
               reason="%s no longer knows this job: it is over, and how it ended was not kept" % who)


def foreign(job_id, who):
    """A job whose id is none of this scheduler's: it was another's, which is not here to be asked any more."""
    return Job(job_id, state=FINISHED, exit_kind=EXIT_UNKNOWN, reason="'%s' is no job of %s" % (words(job_id), who))


def advise(message, table):
    """The advice of the first pattern in ``table`` [(regex, advice)] that ``message`` matches, or None."""
    for pattern, advice in table:
        if re.search(pattern, message, re.IGNORECASE):
            return advice
    return None


def submit_environment():
    """Changes to the environment (None: remove) under which a submit command runs.

    Slurm hands the environment of ``sbatch`` to the job. What belongs to this
    login (or to the job from which a successor is submitted) misleads there:
    XDG_RUNTIME_DIR names a directory that no node has, SLURM_* of the running
    job contradicts the new one. LC_ALL is the user's own again, not our C.
    """
    changes = {"LC_ALL": os.environ.get("LC_ALL")}
    for name in os.environ:
        if _OF_THIS_LOGIN.match(name) and name not in _CONFIGURATION:
            changes[name] = None
    return changes


_OF_THIS_LOGIN = re.compile(
    r"(SLURM_|SBATCH_CLUSTERS$|PBS_|SSH_|XDG_RUNTIME_DIR$|XDG_SESSION_|DBUS_SESSION_BUS_ADDRESS$|DISPLAY$|WAYLAND_DISPLAY$|TMPDIR$"
    r"|JUPYTER_|MPLBACKEND$|PYTHONHOME$)")
_CONFIGURATION = frozenset(["SLURM_CONF", "SLURM_CLUSTERS", "PBS_EXEC", "PBS_CONF_FILE", "PBS_DEFAULT", "PBS_SERVER", "PBS_HOME"])


# --- values ---------------------------------------------------------------

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b?)", re.IGNORECASE)
_UNITS_OF_TIME = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_MEMORY_HELP = "write a number with a unit, such as 4G or 512M (per node)"
_WALLTIME_HELP = "write seconds, 90m, 8h, 1d, HH:MM:SS (in quotes) or D-HH:MM:SS"


def parse_memory(value):
    """Bytes of ``4G``, ``512 MiB``, ``2gb`` or a number of bytes; None for None or empty.

    Units are powers of 1024, as schedulers count.

    Raises:
        BadRequest
    """
    if value is None or value == "":
        return None
    match = _MEMORY.match(str(value).strip())
    if isinstance(value, bool) or not match or match.end() != len(str(value).strip()):
        raise BadRequest("jupyter_memory: %s is not a size; %s" % (_quoted(value), _MEMORY_HELP))
    size = int(float(match.group(1)) * 1024 ** " kmgtp".index(match.group(2).lower() or " "))
    # A bare small number is a forgotten unit: no job runs in less than a megabyte.
    if size < 1024 ** 2:
        raise BadRequest("jupyter_memory: %s is less than 1 MB; %s" % (_quoted(value), _MEMORY_HELP))
    return size


def parse_walltime(value):
    """Seconds of ``01:30:00``, ``1-12:00:00``, ``90m``, ``1h30m`` or a number of seconds; None for None or empty.

    ``MM:SS`` is minutes and seconds, as in PBS and Slurm. (YAML 1.1 turns an
    unquoted 01:30:00 into the number 5400, which is the same.)

    Raises:
        BadRequest
    """
    if value is None or value == "":
        return None
    seconds = None if isinstance(value, bool) else duration(str(value))
    if seconds is None:
        raise BadRequest("jupyter_walltime: %s is not a length of time; %s" % (_quoted(value), _WALLTIME_HELP))
    if seconds < 1:
        raise BadRequest("jupyter_walltime: it must be longer than 0 seconds; %s" % _WALLTIME_HELP)
    return seconds


def duration(text):
    """Seconds of a length of time as a person or a scheduler writes it, or None."""
    text = text.strip().lower()
    if re.match(r"\d{1,12}(\.0*)?\Z", text):
        return int(text.split(".")[0])
    match = re.match(r"(?:(\d{1,6})-)?(\d{1,9}(?::\d{1,9}){0,3})\Z", text)
    if match:
        parts = [int(part) for part in match.group(2).split(":")]
        days = int(match.group(1) or 0)
        if match.group(1) is not None:
            # Slurm: D-HH[:MM[:SS]]
            if len(parts) > 3:
                return None
            parts += [0] * (3 - len(parts))
        seconds = 0
        for part, factor in zip(reversed(parts), (1, 60, 3600, 86400)):
            seconds += part * factor
        return days * 86400 + seconds
    if re.match(r"(\d{1,9}\s*[dhms]\s*)+\Z", text):
        return sum(int(number) * _UNITS_OF_TIME[unit] for number, unit in re.findall(r"(\d+)\s*([dhms])", text))
    return None


def clock(seconds):
    """``HH:MM:SS`` (hours may pass 24), which every scheduler reads alike."""
    return "%02d:%02d:%02d" % (seconds // 3600, seconds // 60 % 60, seconds % 60)


def megabytes(size):
    """Whole megabytes, rounded up."""
    return -(-size // 1024 ** 2)


def epoch(text, form):
    """Seconds since the epoch of a local time written in strptime's ``form``, or None."""
    try:
        return int(time.mktime(time.strptime(text, form)))
    except (ValueError, OverflowError):
        return None


def whole(text):
    """int of a decimal number, or None."""
    text = (text or "").strip()
    return int(text) if re.match(r"-?\d{1,18}\Z", text) else None


def expand_hostlist(text):
    """Host names of Slurm's ``a[1-2,05],b`` notation, in order; what makes no sense is left out."""
    hosts = []
    for item in _outside_brackets(text):
        hosts.extend(itertools.islice(_expand(item), _NODES_LIMIT - len(hosts)))
    return hosts


def _outside_brackets(text):
    items, depth, start = [], 0, 0
    for place, char in enumerate(text):
        if char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
        elif char == "," and depth == 0:
            items.append(text[start:place])
            start = place + 1
    items.append(text[start:])
    return [item.strip() for item in items if item.strip()]


def _expand(item):
    """Host names of one item without commas outside brackets."""
    if not re.match(r"[A-Za-z0-9._-]*(\[[0-9,-]+\][A-Za-z0-9._-]*)*\Z", item):
        return
    # Names and ranges in turn: a[1-2]b is "a", "1-2", "b".
    parts = re.split(r"[\[\]]", item)
    choices = [_numbers(part) if place % 2 else [part] for place, part in enumerate(parts)]
    for names in itertools.product(*choices):
        yield "".join(names)


def _numbers(ranges):
    """``1-2,05`` as ["1", "2", "05"], no longer than any machine has nodes."""
    numbers = []
    for part in ranges.split(","):
        bounds = re.match(r"(\d{1,9})(?:-(\d{1,9}))?\Z", part)
        if bounds and len(numbers) < _NODES_LIMIT:
            first, last = int(bounds.group(1)), int(bounds.group(2) or bounds.group(1))
            numbers += ["%0*d" % (len(bounds.group(1)), number) for number in range(first, min(last, first + _NODES_LIMIT) + 1)]
    return numbers[:_NODES_LIMIT]


def _quoted(value):
    return "'%s'" % files.printable(str(value))[:80]


def _count(request, name, default, least):
    value = request.get(name)
    if value is None or value == "":
        return default
    text = str(value).strip()
    if isinstance(value, bool) or not re.match(r"\d{1,9}\Z", text) or int(text) < least:
        raise BadRequest("jupyter_%s: %s is not a whole number of at least %d" % (name, _quoted(value), least))
    return int(text)


def _word(request, name):
    value = request.get(name)
    if value is None or str(value).strip() == "":
        return None
    text = str(value).strip()
    if not re.match(r"[A-Za-z0-9_.+@:,/-]+\Z", text) or text.startswith("-"):
        raise BadRequest("jupyter_%s: %s is no name of %s %s" % (name, _quoted(value), "an" if name[0] in "aeiou" else "a", name))
    return text


def _options(value):
    if value is None or value == "":
        return []
    if not isinstance(value, (list, tuple)):
        value = [value]
    options = []
    for item in value:
        try:
            shlex.split(str(item))
        except ValueError as error:
            raise BadRequest("jupyter_batch_options: %s: %s; write one option an item, such as '--constraint=skylake'"
                             % (_quoted(item), error))
        if "\x00" in str(item):
            raise BadRequest("jupyter_batch_options: %s holds a NUL character" % _quoted(item))
        options.append(str(item))
    return options
