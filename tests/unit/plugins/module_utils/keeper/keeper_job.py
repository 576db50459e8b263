# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A keeper as a process, with a stand-in for Jupyter."""

import glob
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from ansible_collections.hpc.jupyter.plugins.module_utils import zip_application

MODULES = pathlib.Path(zip_application.__file__).parent
FAKE = pathlib.Path(__file__).with_name("fake_jupyter_server.py")
VERSIONS = ["2.7", "3.6", "3.11", "3.13"]
BEHIND = "import ssl, ctypes, sys; print(getattr(sys, '_base_executable', sys.executable))"


def interpreters():
    """Pythons by version: those that pyenv has, then those on the PATH; of an environment's, which has a Jupyter, the one behind it."""
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    found = {}
    for version in VERSIONS:
        for path in glob.glob(os.path.join(root, "versions", version + ".*", "bin", "python")) + [shutil.which("python" + version) or ""]:
            if path:
                asked = subprocess.run([path, "-c", BEHIND], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True, check=False)
                if asked.returncode == 0:
                    found[version] = asked.stdout.strip()
                    break
    found.setdefault("%d.%d" % sys.version_info[:2], getattr(sys, "_base_executable", sys.executable))
    return found


PYTHONS = interpreters()


def wait_for(look, what, patience=30.0):
    limit = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < limit, "waited for " + what
        time.sleep(0.01)


def sources():
    """What the controller sends."""
    return dict({"__init__.py": ""}, **dict((path.relative_to(MODULES).as_posix(), path.read_text(encoding="utf-8")) for path in MODULES.rglob("*.py")))


def mark(session_id):
    """How a job script names the launch that submitted it."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:16]


class Job:
    """A job whose Python has the stand-in."""

    def __init__(self, directory, scratch):
        self.home = directory / "home"
        self.scratch = scratch
        self.batch = self.home / ".jupyter" / "batch"
        self.directory = self.batch / "sessions" / "s"
        self.directory.mkdir(parents=True)
        (self.batch / "keeper.pyz").write_bytes(zip_application.keeper(sources()).pack())
        self.site = directory / "site"
        (self.site / "jupyter_server").mkdir(parents=True)
        (self.site / "jupyter_server" / "__init__.py").touch()
        shutil.copy(str(FAKE), str(self.site / "jupyter_server" / "__main__.py"))
        (self.site / "jupyter_server-2.99.0.dist-info").mkdir()
        self.process = None

    def write(self, name, value):
        path = self.directory / name
        path.write_text(json.dumps(value))
        return path

    def start(self, python=sys.executable, behaviour="good", job=(), launch="", **env):
        if job is not None:
            self.write("job.json", dict({"session": "s", "id": "f" * 32}, **dict(job)))
            launch = mark("f" * 32)
        self.process = self.keeper(python, launch, FAKE=behaviour, **env)
        return self

    def environment(self, **more):
        return dict({"PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.scratch), "PYTHONPATH": str(self.site)}, **more)

    def keeper(self, python=sys.executable, launch="", **env):
        """A keeper of this session; what it prints goes to job.out."""
        argv = [python, str(self.batch / "keeper.pyz"), "--batch-dir", str(self.batch), "--session", "s", "--launch", launch]
        with open(str(self.home / "job.out"), "ab") as output:
            return subprocess.Popen(argv, env=self.environment(**env), stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=os.setsid)

    def state(self):
        try:
            return json.loads((self.directory / "server.json").read_text())
        except (IOError, OSError):
            return {}

    def await_phase(self, phase):
        return wait_for(lambda: self.state().get("phase") == phase and self.state(), phase)

    def control(self, order):
        path = self.write("control.new", order)
        later = os.stat(str(self.directory / "job.json")).st_mtime + 1
        os.utime(str(path), (later, later))
        path.rename(self.directory / "control.json")

    def log(self):
        return "".join(path.read_text() for path in (self.directory / "server.log", self.home / "job.out") if path.exists())

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
        return self.process and self.process.wait()
