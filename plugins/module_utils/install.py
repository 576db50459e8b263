# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs Jupyter into a virtual environment, where no module of the site brings it.

It takes minutes on a cluster's file system. So it runs detached from the connection, and the
controller asks again and again how far it is; a broken connection costs nothing.
"""

import hashlib
import os
import subprocess
import time

from . import commands, diagnosis, files, job_script, processes, site_wide
from .failure import Failure
from .jupyter_requirements import OLDEST_PYTHON, REQUIREMENTS
from .lock import FOREIGN_AGE, SessionLock
from .places import Site, expand

# Seconds; loading the site's modules takes its time.
LONGEST_START = 240.0
POLL = 0.2
# Of another login node's files; its processes can't be seen from here.
FOREIGN_POLL = 2.0

_FIND = r"""
for candidate in $HPC_JUPYTER_PYTHONS; do
  path=$(command -v "$candidate" 2>/dev/null) || continue
  if "$path" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] < (%d, %d))' >/dev/null 2>&1; then
    echo "hpc.jupyter-python:$path"; exit 0
  fi
done
exit 5
"""

# $1 directory, $2 python, $3 requirements, $4 status file, $5 file touched every few seconds, $6 umask of what it installs. The status
# file is written last: while it is missing and the process lives, it is at work. Then what beats is ended, its sleep included: all of
# this has a process group of its own.
_WORK = r"""
rm -f "$4"
while kill -0 $$ 2>/dev/null; do touch "$5"; sleep 5; done &
( umask "$6"; "$2" -m venv --clear "$1" && "$1/bin/python" -m pip install --disable-pip-version-check --no-input -r "$3" )
echo "$?" > "$4.new" && mv "$4.new" "$4"
trap '' TERM; kill -TERM 0
"""


def install(request):
    """Verb: make the environment, or say how far it is.

    :param request: dict: ``batch_dir``, ``site_dir`` and ``scope`` (as for the verb ``batch``), ``directory``, ``python``,
        ``requirements`` (list, empty for the pinned set), ``index_url``, ``environment`` (its modules bring the Python), ``hold`` (seconds), ``check``.
    :returns: dict: ``changed``, ``state`` (present, running, done, absent), ``progress`` (last line of pip), ``directory``.
    :raises Failure: with pip's last words.
    """
    for_all = request.get("scope") == "site"
    site = site_wide.site_for_all(request) if for_all else Site.of_request(request)
    directory = expand("jupyter_install_dir", request["directory"])
    requirements = "\n".join(request.get("requirements") or REQUIREMENTS) + "\n"
    stamp = {"requirements": hashlib.sha256(requirements.encode("utf-8")).hexdigest(), "version": 1}
    stamp_path = os.path.join(directory, "hpc.jupyter.json")
    if files.read_json(stamp_path) == stamp and os.access(os.path.join(directory, "bin", "python"), os.X_OK):
        return {"changed": False, "state": "present", "directory": directory}
    if request.get("check"):
        return {"changed": True, "state": "absent", "directory": directory}
    (files.make_public_dir if for_all else files.make_private_dir)(site.installed)
    work = {name: os.path.join(site.installed, "install." + name) for name in ("status", "log", "txt", "pid", "beat")}
    with SessionLock(os.path.join(site.installed, "install.lock"), patience=LONGEST_START, what="setup"):
        if _at_work(work):
            _refuse_another(work, directory, stamp)
        elif not request.get("started") and not _has_ended_well(work, directory, stamp):
            _refuse_foreign(directory, stamp_path)
            _begin(request, for_all, work, directory, requirements, stamp)
    deadline = time.time() + float(request.get("hold", 0))
    before = request.get("progress")
    while _at_work(work):
        progress = (diagnosis.tail(work["log"], 1) or [""])[0]
        if progress != before and time.time() > deadline - float(request.get("hold", 0)) + 1 or time.time() > deadline:
            return {"changed": True, "state": "running", "progress": progress, "directory": directory}
        time.sleep(POLL if _is_here(work) else FOREIGN_POLL)
    return _finish(work, directory, stamp_path, stamp, files.PUBLIC_FILE if for_all else files.PRIVATE_FILE)


def _refuse_another(work, directory, stamp):
    """Never take the end of another installation for that of this one."""
    at_work = files.read_json(work["pid"]) or {}
    if (at_work.get("directory"), at_work.get("stamp")) != (directory, stamp):
        raise Failure(
            "Another setup is installing Jupyter into %s from %s, with other packages or into another directory. Nothing was changed. "
            "Run setup again when that has ended." % (at_work.get("directory"), at_work.get("host")), "install-busy")


def _has_ended_well(work, directory, stamp):
    """Tell whether an installation of just this ended after whoever started it had gone."""
    begun = files.read_json(work["pid"]) or {}
    return (begun.get("directory"), begun.get("stamp")) == (directory, stamp) and (files.read_text(work["status"]) or "").strip() == "0"


def _refuse_foreign(directory, stamp_path):
    """Never clear a directory that something else made."""
    if os.path.isdir(directory) and os.listdir(directory) and not (
        os.path.exists(stamp_path) or os.path.exists(os.path.join(directory, "pyvenv.cfg"))
    ):
        raise Failure("%s is there and is no virtual environment. Nothing was changed. Set jupyter_install_dir to a directory "
                      "that is empty or missing." % directory, "directory-in-use")


def _begin(request, for_all, work, directory, requirements, stamp):
    environment = job_script.Environment(**dict(request.get("environment") or {}, venv=None))
    asked = request.get("python")
    pythons = [expand("jupyter_install_python", asked) if "/" in asked else asked] if asked else [
        "python3.%d" % minor for minor in range(14, OLDEST_PYTHON[1] - 1, -1)] + ["python3"]
    found = commands.run(
        ["bash", "-c", environment.setup_lines() + _FIND % OLDEST_PYTHON], timeout=180,
        env={"HPC_JUPYTER_PYTHONS": " ".join(pythons)})
    python = [line.split(":", 1)[1] for line in found.out.splitlines() if line.startswith("hpc.jupyter-python:")]
    if not python:
        raise Failure(
            "No Python from %d.%d on with its venv module was found on the login node (looked for %s). Nothing was installed. "
            "Set jupyter_install_python to the path of one, or jupyter_modules to a module that brings one."
            % (OLDEST_PYTHON + (", ".join(pythons),)), "no-python")
    files.write_atomically(work["txt"], requirements)
    files.remove(work["status"])
    files.write_atomically(work["beat"], "")
    environ = dict(os.environ)
    if request.get("index_url"):
        # May hold a site's credentials, so no argument.
        environ["PIP_INDEX_URL"] = request["index_url"]
    files.make_dirs(os.path.dirname(directory), files.PUBLIC_DIR if for_all else files.PRIVATE_DIR)
    with open(work["log"], "wb") as log, open(os.devnull, "rb") as nothing:
        process = subprocess.Popen(
            ["sh", "-c", _WORK, "sh", directory, python[0], work["txt"], work["status"], work["beat"], "022" if for_all else "077"],
            stdin=nothing, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environ, close_fds=True)
    files.write_json(work["pid"], {
        "pid": process.pid, "process": processes.start_time(process.pid), "host": os.uname()[1], "directory": directory, "stamp": stamp})


def _is_here(work):
    return (files.read_json(work["pid"]) or {}).get("host") == os.uname()[1]


def _at_work(work):
    holder = files.read_json(work["pid"])
    if not holder:
        return False
    if not _is_here(work):
        # A site's name for its login nodes leads to any of them.
        age = None if os.path.exists(work["status"]) or not os.path.exists(work["beat"]) else files.age(work["beat"])
        return age is not None and age < FOREIGN_AGE
    try:
        # Our own child would stay a zombie, which still has its start time.
        os.waitpid(holder["pid"], os.WNOHANG)
    except OSError:
        pass
    return processes.alive(holder["pid"], holder["process"])


def _finish(work, directory, stamp_path, stamp, mode):
    if files.read_json(stamp_path) == stamp:
        # Somebody else who waited for it was faster.
        return {"changed": True, "state": "done", "directory": directory}
    status = (files.read_text(work["status"]) or "").strip()
    if status != "0":
        raise Failure(
            "Jupyter could not be installed into %s. pip's last words: %s. The whole log is %s. Mend what it says and run setup "
            "again, which starts over." % (directory, " / ".join(diagnosis.tail(work["log"], 5)) or "none", work["log"]),
            "install-failed")
    files.write_json(stamp_path, stamp, mode=mode)
    for name in ("status", "txt", "pid", "beat"):
        files.remove(work[name])
    return {"changed": True, "state": "done", "directory": directory}
