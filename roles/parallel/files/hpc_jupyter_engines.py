# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines of ipyparallel on the nodes of a batch job.

Setup puts this file beside ``settings.json`` and ``environment.sh``; the IPython profiles' ``ipcluster_config.py`` names
its launchers. It runs in three places:

* in the notebook's kernel, and in the Jupyter server for its cluster panel, as the launchers ``AllocationEngines`` (engines
  on the nodes of this session) and ``JobEngines`` (engines in a batch job of their own);
* ``python hpc_jupyter_engines.py start -n N ...`` within the allocation: finds out what starts MPI programs there, tries it,
  and runs N engines with it until they end;
* ``... engine ...`` on every node: proves that the controller can be reached and that MPI connects the engines, then becomes
  ipyparallel's engine.

Lines that begin with ``hpc.jupyter: `` are for the person: the launchers give them as the reason when the engines end.
"""

import argparse
import collections
import ctypes
import glob
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SAY = "hpc.jupyter: "
NOTE = "hpc.jupyter note: "
PROBE = "hpc.jupyter-probe "
PROBE_TIMEOUT = 90  # seconds; a cold parallel file system takes its time to give a Python
REACH_TIMEOUT = 10  # seconds for a TCP connection from an engine to the controller
# Exit statuses of an engine, or of what starts them, that never came to work: not started, no controller's file, controller out of
# reach, no MPI between the engines.
NOT_STARTED, NO_FILE, NO_WAY, NO_MPI = 3, 4, 5, 6
FILE_TIMEOUT = 60  # seconds until the controller's connection file is visible on every node; NFS caches directories for up to 60

# What belongs to one node, one process or one login, and would mislead an engine on another.
_NOT_FOR_ENGINES = re.compile(
    r"(SLURM_|SLURMD_|SRUN_|PBS_|PMI|OMPI_|PRTE_|HYDRA_|MPIR_|I_MPI_HYDRA|XDG_|SSH_|DBUS_|DISPLAY$|TMPDIR$|HOSTNAME$|PWD$|OLDPWD$"
    r"|SHLVL$|_$|JPY_|JUPYTER_|MPLBACKEND$|IPP_CONNECTION_INFO$)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Problem(Exception):
    """The engines can't be had; the message says why and what to do."""

    def _render_traceback_(self):
        """What a notebook shows of it: where in ipyparallel it came up helps nobody."""
        return ["%s: %s" % (type(self).__name__, self)]


def settings():
    """What setup wrote (dict)."""
    with open(os.path.join(HERE, "settings.json"), encoding="utf-8") as stream:
        return json.load(stream)


def login_program(chosen):
    """Make the collection's own modules importable as ``hpc_jupyter`` (its schedulers, and what the keeper knows of allocations)."""
    if chosen["program"] not in sys.path:
        sys.path.append(chosen["program"])


# --- the allocation ------------------------------------------------------------------------------------------------

def slots(env=None, chosen=None):
    """The host of every slot of the allocation that this process is in.

    :returns: list of str, hosts in their order, one entry for each slot.
    """
    env = os.environ if env is None else env
    chosen = chosen or settings()
    path = env.get("PBS_NODEFILE")
    if path:
        try:
            with open(path, encoding="utf-8") as stream:
                hosts = stream.read().split()
        except OSError:
            hosts = []
        if hosts:
            return hosts
    login_program(chosen)
    from hpc_jupyter.keeper import allocation, processes

    hosts = allocation.node_lines(env, env.get("HPC_JUPYTER_SLOTS"), processes.ask_command)
    return hosts or [socket.gethostname()] * (os.cpu_count() or 1)


def per_host(hosts):
    """[(host, slots)] in the order of the allocation."""
    return list(collections.OrderedDict((host, hosts.count(host)) for host in hosts).items())


def check_slots(wanted, hosts):
    """:raises Problem: more engines than slots."""
    if wanted > len(hosts):
        layout = ", ".join("%d on %s" % (count, host) for host, count in per_host(hosts))
        raise Problem(
            "%d engines were asked for, and this job has %d slot%s (%s). Ask for n=%d or fewer, launch a session with more "
            "(jupyter_nodes, jupyter_cores), or start them in a job of their own (the profile whose name ends in -job)."
            % (wanted, len(hosts), "" if len(hosts) == 1 else "s", layout, len(hosts)))


# --- what starts them ----------------------------------------------------------------------------------------------

class Starter:
    """One way to start the same program several times over the nodes.

    :ivar label: how it is called in messages.
    :ivar mpi: whether its processes can be one MPI world.
    """

    def __init__(self, label, build, mpi=True):
        self.label = label
        self.build = build
        self.mpi = mpi

    def argv(self, count, hosts, nodefile):
        """The command in front of the program, for ``count`` processes on these slots."""
        return self.build(count, hosts, nodefile)


def ask(*argv):
    """What a short command prints on both outputs, or ""."""
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
                              check=False).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return ""


def starters(chosen, env=None):
    """All that this allocation has, the likeliest first."""
    env = os.environ if env is None else env
    wanted, options = chosen["starter"], list(chosen["starter_options"])
    found = []
    if wanted in ("auto", "srun") and env.get("SLURM_JOB_ID") and shutil.which("srun"):
        found += _srun(options, ask("srun", "--version"), ask("srun", "--mpi=list"))
    program = shutil.which("mpiexec") or shutil.which("mpirun")
    if wanted in ("auto", "mpiexec") and program:
        found.append(_mpiexec(program, options, ask(program, "--version"), bool(env.get("SLURM_JOB_ID"))))
    return found


def _srun(options, version, kinds):
    release = [int(part) for part in re.findall(r"\d+", version)[:2]]
    # Since 20.11 a step has its cores to itself unless it says otherwise, and would wait for the step that runs already.
    common = (["--overlap"] if release >= [20, 11] else []) + ["--cpu-bind=none", "--kill-on-bad-exit=1", "--unbuffered"] + options

    def build(kind):
        def argv(count, hosts, dummy):
            nodes = min(count, len(set(hosts)))
            return (["srun", "-n", str(count), "-N", str(nodes)] + (["--distribution=cyclic"] if count < len(hosts) else [])
                    + (["--mpi=" + kind] if kind else []) + common)
        return argv

    found = [Starter("srun", build(None))]
    if not any(option.startswith("--mpi") for option in options):
        found += [Starter("srun --mpi=" + kind, build(kind)) for kind in ("pmix", "pmi2", "cray_shasta")
                  if re.search(r"(^|\s)%s(\s|$)" % kind, kinds)]
    return found


def mpi_family(text):
    """Whose an mpiexec or an MPI library is, by what it says of itself: "Open MPI", "MPICH", "Intel MPI" or None."""
    for pattern, family in ((r"intel\(r\) mpi", "Intel MPI"), (r"open\s?mpi|open-mpi|openrte|prrte", "Open MPI"), (r"hydra|mpich|mvapich", "MPICH")):
        if re.search(pattern, text, re.IGNORECASE):
            return family
    return None


def _mpiexec(program, options, version, slurm):
    family = mpi_family(version)

    def argv(count, hosts, nodefile):
        words = [program, "-n", str(count)]
        if family == "Open MPI":
            # In a Slurm job it asks Slurm; in a PBS job not every build knows PBS, and the node file says the same.
            words += ["--bind-to", "none"] + ([] if slurm else ["--hostfile", nodefile])
            words += ["--map-by", "node"] if count < len(hosts) else []
        elif family and not slurm:
            words += ["-f", nodefile]
        return words + options

    return Starter("%s (%s)" % (program, family or "unknown"), argv)


def write_nodefile(path, hosts, family):
    """The node file in the words of that MPI: Open MPI counts lines, the others want ``host:slots``."""
    if family == "Open MPI":
        text = "".join("%s slots=%d\n" % pair for pair in per_host(hosts))
    else:
        text = "".join("%s:%d\n" % pair for pair in per_host(hosts))
    write_private(path, text)


def write_private(path, text, mode=0o600):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)


def engine_script(env, container=()):
    """A shell script that gives an engine on any node this process's environment: PATH, modules and all.

    Some MPIs hand the environment on and others don't; a file in the shared home does it for each.
    """
    lines = ["#!/bin/sh"]
    for name in sorted(env):
        if _NAME.match(name) and not _NOT_FOR_ENGINES.match(name):
            lines.append("export %s=%s" % (name, shlex.quote(env[name])))
    command = list(container) + [sys.executable, os.path.abspath(__file__)]
    return "\n".join(lines + ["exec %s \"$@\"" % " ".join(shlex.quote(word) for word in command), ""])


class Session:
    """The files of one start, in the profile's security directory (0700, shared by the nodes)."""

    def __init__(self, profile_dir, cluster_id):
        stem = os.path.join(profile_dir, "security", "start-%s-%s-%d" % (cluster_id or "default", socket.gethostname(), os.getpid()))
        self.script = stem + ".sh"
        self.nodefile = stem + ".nodes"

    def remove(self):
        for path in (self.script, self.nodefile):
            try:
                os.unlink(path)
            except OSError:
                pass


def choose(chosen, hosts, count, files, cache=None):
    """Find a starter that works here, by trying it.

    :returns: (Starter or None for plain processes on this one host, whether the engines get MPI, a note for the person or None).
    :raises Problem: none works; says what each said.
    """
    mpi = chosen["mpi"]
    candidates = starters(chosen)
    have = importlib.util.find_spec("mpi4py") is not None
    if mpi == "required" and not have:
        raise Problem("jupyter_parallel_mpi is 'required', and the Python of the engines (%s) has no mpi4py. Name a module that brings it "
                      "in jupyter_modules, or install it: MPICC=mpicc pip install --no-binary=mpi4py mpi4py." % sys.executable)
    note = None
    if mpi == "auto" and not have:
        note = "the engines run without MPI, for the Python %s has no mpi4py" % sys.executable
    if not candidates:
        missing = {"auto": "neither srun nor mpiexec is", "srun": "srun is not", "mpiexec": "mpiexec is not"}[chosen["starter"]]
        if mpi != "none" and have or len(set(hosts)) > 1:
            raise Problem("MPI is missing: %s on the PATH of the session. Name the module of your MPI in jupyter_modules and run setup "
                          "again%s. (PATH is %s)" % (
                              missing, ", or set jupyter_parallel_mpi: none for engines without MPI" if len(set(hosts)) == 1 else "",
                              os.environ.get("PATH")))
        return None, False, note
    if mpi == "none" or not have:
        return candidates[0], False, note
    if count == 1:
        return candidates[0], True, note
    key = hashlib.sha256(json.dumps([sys.executable, os.environ.get("PATH"), chosen["starter"], chosen["starter_options"], hosts],
                                    sort_keys=True).encode("utf-8")).hexdigest()
    known = _read_json(cache)
    said = []
    for starter in candidates:
        if known.get(key) == starter.label:
            return starter, True, note
    for starter in candidates:
        wrong = try_starter(starter, hosts, min(count, max(2, min(len(set(hosts)), 2))), files)
        if wrong is None:
            if cache:
                write_private(cache, json.dumps({key: starter.label}))
            return starter, True, note
        said.append("%s: %s" % (starter.label, wrong))
    raise Problem("MPI does not work over the nodes of this job. " + " ".join(said) + " (jupyter_parallel_mpi: none gives engines without MPI.)")


def _read_json(path):
    try:
        with open(path, encoding="utf-8") as stream:
            value = json.load(stream)
        return value if isinstance(value, dict) else {}
    except (OSError, ValueError, TypeError):
        return {}


def try_starter(starter, hosts, count, files):
    """Start ``count`` processes that say what MPI world they are in.

    :returns: None when they are one world, else what is wrong, in words.
    """
    write_nodefile(files.nodefile, hosts, mpi_family(starter.label))
    argv = starter.argv(count, hosts, files.nodefile) + ["/bin/sh", files.script, "probe"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PROBE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return "no answer within %d seconds." % PROBE_TIMEOUT
    except OSError as error:
        return "%s." % error
    output = done.stdout.decode("utf-8", "replace")
    return judge_probe([json.loads(line[len(PROBE):]) for line in output.splitlines() if line.startswith(PROBE)], count, starter.label, output, done.returncode)


def judge_probe(answers, count, label, output="", status=0):
    """What the probe's answers mean: None, or what is wrong."""
    broken = [answer for answer in answers if answer.get("error")]
    if broken:
        return ("mpi4py can't be used on %s: %s. Name the module of the MPI that mpi4py was built for in jupyter_modules."
                % (broken[0]["host"], broken[0]["error"].rstrip(".")))
    killed = label.startswith("srun") and not answers and re.search(r"Terminated|Killed|Aborted", output)
    if len(answers) < count and (killed or re.search(r"not built with SLURM'?s PMI|PMI2?_Init|abort before MPI_INIT", output)):
        family = mpi_family(output)
        return "the MPI of mpi4py%s does not understand how it was started by it (another PMI)." % (", %s," % family if family else "")
    if len(answers) < count or status:
        lines = [line for line in output.splitlines() if line.strip() and not line.startswith(PROBE)]
        return "%d of %d test processes answered (status %d): %s." % (len(answers), count, status, " / ".join(lines[-4:]).rstrip(".") or "no message")
    sizes = set(answer["size"] for answer in answers)
    if sizes != {count}:
        library = answers[0].get("library") or "an unknown MPI"
        ours, theirs = mpi_family(library), mpi_family(label)
        if ours and theirs and ours != theirs:
            return ("mpi4py uses %s, but this is another MPI: each engine would be alone in a world of its own. Load the module of %s "
                    "(jupyter_modules), or build mpi4py for this one: MPICC=mpicc pip install --no-binary=mpi4py mpi4py." % (library, ours))
        return "each process is alone in an MPI world of its own; mpi4py uses %s, which does not understand how it was started here." % library
    return None


# --- python hpc_jupyter_engines.py ... -----------------------------------------------------------------------------

def say(text, kind=SAY):
    sys.stdout.write(kind + text + "\n")
    sys.stdout.flush()


def start(arguments, rest):
    """Run N engines over the allocation until they end; returns the exit status."""
    chosen = settings()
    files = Session(arguments.profile_dir, arguments.cluster_id)
    child = None
    try:
        hosts = slots(chosen=chosen)
        check_slots(arguments.n, hosts)
        write_private(files.script, engine_script(os.environ, chosen["container"]), 0o700)
        job = re.sub(r"[^A-Za-z0-9._-]", "_", os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or "none")
        starter, mpi, note = choose(chosen, hosts, arguments.n, files, os.path.join(arguments.profile_dir, "log", "start-%s.json" % job))
        if note:
            say(note, NOTE)
        words = ["engine", "--profile-dir", arguments.profile_dir, "--cluster-id", arguments.cluster_id, "--engines", str(arguments.n)]
        command = ["/bin/sh", files.script] + words + (["--mpi"] if mpi else []) + rest
        if starter is None:
            return _plain(command, arguments.n)
        write_nodefile(files.nodefile, hosts, mpi_family(starter.label))
        say("%d engines by %s on %s" % (arguments.n, starter.label, ", ".join("%s (%d)" % pair for pair in per_host(hosts))), NOTE)
        child = _popen(starter.argv(arguments.n, hosts, files.nodefile) + command)
        told, tail = _copy(child)
        status = child.wait()
        # A failed node may end srun with status 0.
        why = None if told or child.stopped else explain(tail, starter.label, status, hosts)
        if why:
            say(why)
        return status if status >= 0 else 128 - status
    except Problem as problem:
        say(str(problem))
        return NOT_STARTED
    finally:
        files.remove()


def _popen(argv, **options):
    def ends_with_us():
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG: no starter outlives the notebook's hold on it

    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=ends_with_us, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    child.stopped = False  # whether we were told to end it

    def stop(_signum, _frame):
        child.stopped = True
        if child.poll() is None:
            child.terminate()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    return child


def _copy(child):
    """Copy the child's output to ours; returns (whether an engine said why, the last lines)."""
    told, tail = False, collections.deque(maxlen=60)
    for raw in child.stdout:
        line = raw.decode("utf-8", "replace")
        told = told or line.startswith(SAY)
        tail.append(line.rstrip("\n"))
        sys.stdout.write(line)
        sys.stdout.flush()
    return told, list(tail)


def _plain(command, count):
    children = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for dummy in range(count)]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: [child.terminate() for child in children if child.poll() is None])
    return max(child.wait() for child in children)


_NODE_FAILED = "The node %s failed, and the engines with it."
_MEANINGS = (
    (r"node failure on (\S+)", _NODE_FAILED),
    (r"lost communication with a remote daemon[\s\S]*?remote daemon:[^\n]* on node (\S+)",
     "The node %s can't be reached any more, and the engines ended with it."),
    (r"not enough slots", "There are more engines than slots in this job."),
    (r"(?:oom|out of memory)[- ]?kill|killed by.*memory", "An engine used more memory than the job has; ask for more with jupyter_memory."),
    (r"invalid job id|job/step already completing|has expired|time limit", "The job of the session is over."),
)


def explain(tail, label, status, hosts=()):
    """In words, why the starter ended with that status on these hosts, or None where nothing went wrong."""
    text = "\n".join(tail)
    for pattern, meaning in _MEANINGS:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return meaning % match.groups() if match.groups() else meaning
    # That a node failed, and that the step is over, Slurm tells srun by separate messages: the latter may be the first, and ends it.
    # An mpiexec whose srun ends that way may say nothing at all.
    node = _failed_node(hosts)
    if node:
        return _NODE_FAILED % node
    if not status:
        return None
    last = [line.strip() for line in tail if line.strip(" -\t")][-3:]
    return "%s ended with status %d: %s" % (label, status, " / ".join(last) or "no message")


def _failed_node(hosts):
    """The first of these hosts that Slurm has given up, or None."""
    shown = ask("sinfo", "--noheader", "--Node", "--nodes=" + ",".join(collections.OrderedDict.fromkeys(hosts)), "--format=%N %T")
    for line in shown.splitlines():
        node, _space, state = line.strip().partition(" ")
        if node in hosts and state.startswith("down"):
            return node
    return None


def probe():
    """Say which MPI world this process is in."""
    answer = {"host": socket.gethostname(), "python": sys.executable}
    try:
        from mpi4py import MPI

        answer.update(size=MPI.COMM_WORLD.Get_size(), rank=MPI.COMM_WORLD.Get_rank(), library=MPI.Get_library_version().splitlines()[0].strip(" \0"))
    except Exception as error:  # whatever keeps mpi4py from working is the answer
        answer["error"] = "%s: %s" % (type(error).__name__, " ".join(str(error).split()))
    # One write, so that lines of several processes don't mix.
    os.write(1, ("%s%s\n" % (PROBE, json.dumps(answer))).encode("utf-8"))
    return 0


def controller_address(info):
    """(host, port) of the controller's registration, from its connection file for engines."""
    host = info["interface"].rpartition("//")[2]
    return (info["location"] if host in ("*", "0.0.0.0", "") else host), int(info["registration"])


def engine(arguments, rest):
    """Become an engine, if that has a chance to work; returns the exit status."""
    name = "ipcontroller-%s-engine.json" % arguments.cluster_id if arguments.cluster_id else "ipcontroller-engine.json"
    path = os.path.join(arguments.profile_dir, "security", name)
    here = socket.gethostname()
    deadline = time.monotonic() + FILE_TIMEOUT
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            say("%s: the controller's file %s is not there: either the controller has ended, or this node does not share the home." % (here, path))
            return NO_FILE
        time.sleep(0.5)
        try:
            os.listdir(os.path.dirname(path))  # makes NFS look again
        except OSError:
            pass
    info = _read_json(path)
    host, port = controller_address(info)
    try:
        socket.create_connection((host, port), REACH_TIMEOUT).close()
    except OSError as error:
        say("%s can't reach the controller at %s, port %d (%s). The controller must listen on an address that all nodes of the job reach, and no "
            "firewall may stand between them; c.IPController.location in the profile's ipcontroller_config.py names another address."
            % (here, host, port, error))
        return NO_WAY
    if arguments.mpi:
        try:
            from mpi4py import MPI
        except Exception as error:  # as in probe
            say("%s: mpi4py can't be used: %s" % (here, " ".join(str(error).split())))
            return NO_MPI
        if MPI.COMM_WORLD.Get_size() != arguments.engines:
            say("%s: this engine is in an MPI world of %d, not of %d: mpi4py was built for another MPI than the one that starts it."
                % (here, MPI.COMM_WORLD.Get_size(), arguments.engines))
            return NO_MPI
    sys.argv = ["ipengine", "--profile-dir", arguments.profile_dir, "--cluster-id", arguments.cluster_id] + (["--mpi"] if arguments.mpi else []) + rest
    sys.path[:] = [entry for entry in sys.path if entry != HERE]
    from ipyparallel.engine.app import main as become_engine

    become_engine()
    return 0


def main(argv):
    """``start``, ``engine`` or ``probe``; unknown arguments go on to ipyparallel's engine."""
    if argv[:1] == ["probe"]:
        return probe()
    parser = argparse.ArgumentParser(prog="hpc_jupyter_engines.py")
    parser.add_argument("verb", choices=["start", "engine"])
    parser.add_argument("--profile-dir", required=True)
    parser.add_argument("--cluster-id", default="")
    parser.add_argument("-n", type=int, default=1)
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--mpi", action="store_true")
    arguments, rest = parser.parse_known_args(argv)
    return start(arguments, rest) if arguments.verb == "start" else engine(arguments, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))


# --- the launchers -------------------------------------------------------------------------------------------------

import psutil  # noqa: E402  (ipyparallel needs it too)
from ipyparallel.cluster import launcher  # noqa: E402
from ipyparallel.cluster.cluster import Cluster  # noqa: E402
from traitlets import Integer, Unicode  # noqa: E402


class Ending(dict):
    """The stop data of ipyparallel that, shown, is the reason."""

    def __str__(self):
        return self.get("reason") or dict.__repr__(self)

    __repr__ = __str__


def reasons(output):
    """What the lines for the person say, each once."""
    found = []
    for line in output.splitlines():
        if line.startswith(SAY) and line[len(SAY):] not in found:
            found.append(line[len(SAY):])
    return found


def start_command(engines):
    """The command that starts these engines within their allocation."""
    return [sys.executable, os.path.abspath(__file__), "start", "-n", str(engines.n), "--profile-dir", engines.profile_dir,
            "--cluster-id", engines.cluster_id] + engines.engine_args


async def give_up(engines):
    """Forget engines that never came to be, and end a controller that has no others: each failed start would leave one."""
    cluster = engines.parent
    if isinstance(cluster, Cluster):
        cluster.engines.pop(engines.engine_set_id, None)
        if not cluster.engines and cluster.controller is not None:
            await cluster.stop_controller()


class Local:
    """What makes a process that another kernel or the cluster panel finds in a cluster file surely the one that was started."""

    def to_dict(self):
        return dict(super().to_dict(), host=socket.gethostname())

    @classmethod
    def from_dict(cls, d, **kwargs):
        # The home is shared: the same pid on another node is somebody else's process.
        if d.get("host") != socket.gethostname():
            raise launcher.NotRunning("it runs on %s" % d.get("host"))
        try:
            env = psutil.Process(d["pid"]).environ()
            if (env.get("IPP_PROFILE_DIR"), env.get("IPP_CLUSTER_ID")) != (d.get("profile_dir"), d.get("cluster_id")):
                raise launcher.NotRunning("process %d is another one by now" % d["pid"])
        except psutil.Error:
            raise launcher.NotRunning("process %d" % d["pid"]) from None
        return super().from_dict(d, **kwargs)


class Controller(Local, launcher.LocalControllerLauncher):
    """The controller on the notebook's node."""

    entrypoint_name = __name__ + ".Controller"

    def start(self):
        # Those of a controller that was killed would send the engines to it.
        for path in self.connection_files.values():
            try:
                os.unlink(path)
            except OSError:
                pass
        return super().start()

    def notify_stop(self, data):
        # One that is ended while it starts its schedulers leaves them behind; they are in the group that it leads.
        if self.pid > 1:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except OSError:
                pass
        return super().notify_stop(data)


class AllocationEngines(Local, launcher.LocalProcessLauncher, launcher.EngineLauncher):
    """Engines on the nodes of the job that this notebook runs in."""

    entrypoint_name = __name__ + ".AllocationEngines"
    stopping = False

    def find_args(self):
        return start_command(self)

    async def start(self, n):
        self.n = n
        try:
            check_slots(n, slots())
            if getattr(self.parent, "controller", None):
                await self.parent.controller.get_connection_info()
            return super().start()
        except BaseException:
            await give_up(self)
            raise

    def signal(self, sig):
        self.stopping = self.stopping or sig in (signal.SIGTERM, signal.SIGKILL)
        super().signal(sig)

    def notify_stop(self, data):
        if not self.stopping:
            said = reasons(self.get_output())
            data = Ending(data or {}, reason=" ".join(said) or "the engines ended by themselves (status %s)" % (data or {}).get("exit_code"))
        data = super().notify_stop(data)
        if not self.stopping and (data or {}).get("exit_code") in (NOT_STARTED, NO_FILE, NO_WAY, NO_MPI):
            self.loop.add_callback(give_up, self)
        return data

    def _log_output(self, stop_data=None):
        if self.stopping:
            return
        self.log.warning("The engines have ended. %s", stop_data)
        lines = [line for line in self.get_output().splitlines() if not line.startswith(SAY)]
        if lines and (stop_data or {}).get("exit_code"):
            self.log.info("The last lines of their log:\n%s", "\n".join(lines[-15:]))


class JobEngines(launcher.BatchEngineSetLauncher):
    """Engines in a batch job of their own, which ends with them.

    What is not set here is as setup was told (jupyter_parallel_* and what a session gets).
    """

    entrypoint_name = __name__ + ".JobEngines"
    walltime = Unicode("", config=True, help="How long the job may run, such as 01:30:00.").tag(to_dict=True)
    account = Unicode("", config=True, help="Account to charge.").tag(to_dict=True)
    memory = Unicode("", config=True, help="Memory per node, such as 8G.").tag(to_dict=True)
    engines_per_node = Integer(0, config=True, help="Engines, and so cores, per node.").tag(to_dict=True)
    stopping = False
    _watcher = None
    _known = None

    def find_args(self):
        return ["engines in a batch job"]

    def resources(self, chosen, base):
        """The job's resources in the words of the collection's schedulers."""
        wanted = dict(chosen["resources"])
        for name in ("walltime", "account", "memory", "queue"):
            if getattr(self, name):
                wanted[name] = getattr(self, name)
        most = max(1, self.engines_per_node or int(wanted.get("cores") or 1))
        nodes = -(-self.n // most)
        wanted.update(nodes=nodes, cores=-(-self.n // nodes))
        return base.Resources.from_request(wanted)

    def script(self):
        """The job script: the site's environment section, then the engines with this kernel's own Python."""
        with open(os.path.join(HERE, "environment.sh"), encoding="utf-8") as stream:
            environment = stream.read()
        words = start_command(self)
        return "\n".join(["#!/bin/bash", "umask 077", environment.rstrip("\n"), "HPC_JUPYTER_SLOTS=%d; export HPC_JUPYTER_SLOTS" % self.n,
                          "exec " + " ".join(shlex.quote(word) for word in words), ""])

    def _scheduler(self):
        chosen = settings()
        login_program(chosen)
        from hpc_jupyter import commands, schedulers

        return schedulers.get(chosen["scheduler"], commands.run, commands=chosen["commands"],
                              directory=os.path.join(os.path.dirname(HERE), "local"))

    async def start(self, n):
        self.n = n
        try:
            return self._submit(n)
        except BaseException:
            await give_up(self)
            raise

    def _submit(self, n):
        chosen = settings()
        scheduler = self._scheduler()
        from hpc_jupyter.schedulers import base

        path = os.path.join(self.profile_dir, "log", "%s.sh" % self.identifier)
        write_private(path, self.script(), 0o700)
        self.batch_file = path
        try:
            resources = self.resources(chosen, base)
            self.job_id = scheduler.submit(base.Submission("ipengine-" + (self.cluster_id or "default")[-8:], path, self.output_file, resources))
        except base.SchedulerError as error:
            raise Problem("The job for %d engines was not submitted. %s (The number of engines is n; what else the job asks for is in the "
                          "variables jupyter_parallel_... of setup, or in JobEngines of the notebook's config.)" % (n, error)) from None
        self.log.info("Job %s for %d engines (%d node%s with %d cores each)", self.job_id, n, resources.nodes, "" if resources.nodes == 1 else "s",
                      resources.cores)
        self.notify_start(self.job_id)
        self._watch()
        return self.job_id

    @classmethod
    def from_dict(cls, d, **kwargs):
        self = super().from_dict(d, **kwargs)
        job = self._scheduler().look([self.job_id])[self.job_id]
        if job.over:
            raise launcher.NotRunning("job %s is over" % self.job_id)
        self.state = "running"
        self._watch()
        return self

    def _watch(self):
        loop = self.loop
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._follow, args=(loop, float(settings().get("poll_interval") or 0)), daemon=True,
                                         name="job %s" % self.job_id)
        self._watcher.start()

    def _follow(self, loop, interval):
        """Tell what the job waits for, and when it is over; asks ever more seldom."""
        scheduler, pause = self._scheduler(), max(2.0, interval)
        while not self._ended.wait(pause):
            pause = max(interval, min(30.0, pause * 1.5))
            job = scheduler.look([self.job_id])[self.job_id]
            news = "%s%s" % (job.state, " (%s)" % job.reason if job.reason else "")
            if news != self._known and job.state in ("queued", "held", "running"):
                self._known = news
                self.log.info("Job %s: %s%s", self.job_id, news, " on " + ", ".join(job.nodes) if job.nodes and job.state == "running" else "")
            if job.over:
                data = {"job_id": self.job_id, "exit_code": job.exit_code}
                try:
                    loop.add_callback(self.notify_stop, Ending(data, reason=self._why(job)))
                except RuntimeError:  # that loop is closed, so nobody listens
                    pass
                return

    def _why(self, job):
        said = reasons(self.get_output(remove=False))
        if job.exit_kind in ("time_limit", "cancelled", "node_lost"):
            said = [{"time_limit": "its walltime was up", "cancelled": "it was cancelled", "node_lost": "a node of it failed"}[job.exit_kind]]
        return "Job %s of the engines is over: %s" % (self.job_id, " ".join(said) or job.reason or "see %s" % self.output_file)

    def stop(self):
        """End the job."""
        self.stopping = True
        if self._watcher is not None:
            self._ended.set()
        if self.state == "running":
            scheduler = self._scheduler()
            from hpc_jupyter.schedulers import base

            try:
                outcome = scheduler.cancel(self.job_id)
            except base.SchedulerError as error:
                raise launcher.LauncherError("Job %s of the engines could not be ended, so it may still run: %s" % (self.job_id, error)) from None
            self.notify_stop(Ending(job_id=self.job_id, exit_code=0, reason="job %s was ended (%s)" % (self.job_id, outcome)))
        for path in glob.glob(glob.escape(os.path.join(self.profile_dir, "log", self.identifier)) + ".sh"):
            os.unlink(path)

    def signal(self, sig):
        """Interrupting goes through the controller; a signal to the job means its end."""
        if sig in (signal.SIGTERM, signal.SIGKILL):
            self.stop()

    def _log_output(self, stop_data=None):
        if not self.stopping:
            self.log.warning("%s", stop_data)
