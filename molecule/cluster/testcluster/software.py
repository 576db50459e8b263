# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The software behind the cluster's modulefiles: built once per machine, shared by all its clusters."""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from typing import Callable, Iterator, List, NamedTuple, Optional

from . import python27

SYSTEM_PYTHON = "/usr/bin/python3"


class NotBuilt(Exception):
    """A piece of software that this machine can't have, and why."""


class Software(NamedTuple):
    """One modulefile and the Python environment behind it."""

    module: str            # the name given to `module load`, without version
    version: str           # the version in the module's name; "" = that of `distribution` once installed
    distribution: str      # the Python distribution that names the version
    requirements: List[str]
    make: Callable[[str], str]  # creates the empty environment in a directory, returns its python


def _venv(directory: str) -> str:
    _run([SYSTEM_PYTHON, "-m", "venv", directory])
    return os.path.join(directory, "bin", "python")


def _python27(directory: str) -> str:
    return python27.make(directory, _run, SYSTEM_PYTHON)


SOFTWARE = [
    Software("jupyterlab", "", "jupyterlab",
             ["jupyterlab", "jupyter_server", "notebook", "ipykernel", "ipyparallel", "mpi4py", "numpy", "matplotlib"],
             _venv),
    Software("notebook-classic", "", "notebook",
             ["notebook==6.5.*", "jupyter_client<8", "ipykernel<7", "traitlets<5.15", "setuptools<81"], _venv),
    # What `module load python/2.7.15-anaconda2-2018.12` used to give on clusters.
    Software("python", "2.7.15-anaconda2-2018.12", "notebook",
             ["notebook==5.7.8", "send2trash<1.6", "tornado==5.1.1", "pyzmq==18.1.1", "pyrsistent<0.17",
              "jsonschema<4", "bleach<4", "pandocfilters<1.5", "ipykernel<5", "prompt_toolkit<2",
              "jupyter_client<6", "nbconvert<6", "MarkupSafe<2", "Jinja2<3", "pygments<2.6", "testpath<0.5",
              "defusedxml<0.7", "webencodings<1", "terminado<0.9", "prometheus_client<0.13"],
             _python27),
]


def prepare(root: str, say: Callable[[str], None]) -> None:
    """Build what is missing below `root` and write its modulefiles; what can't be built is said and left out.

    Raises NotBuilt if a piece that needs nothing but PyPI could not be built.
    """
    os.makedirs(root, mode=0o755, exist_ok=True)
    with _only_one_builder(root):
        missing = [software for software in SOFTWARE if not _is_complete(root, software)]
        if missing:
            say("building %s in %s" % (", ".join(software.module for software in missing), root))
        failures = []
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            for software, outcome in [(s, pool.submit(_build, root, s)) for s in missing]:
                try:
                    outcome.result()
                except NotBuilt as why:
                    say("without module %s: %s" % (software.module, why))
                    if software.make is _venv:
                        failures.append(software.module)
        _write_modulefiles(root)
    if failures:
        raise NotBuilt("could not build " + ", ".join(failures))


def modulefiles(root: str) -> str:
    """The directory to add to MODULEPATH."""
    return os.path.join(root, "modulefiles")


@contextlib.contextmanager
def _only_one_builder(root: str) -> Iterator[None]:
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _directory(root: str, software: Software) -> str:
    # A change of requirements makes a new directory, so a running cluster keeps what it runs on.
    digest = hashlib.sha256("\n".join([software.version] + software.requirements).encode()).hexdigest()[:8]
    return os.path.join(root, "%s-%s" % (software.module, digest))


def _version_file(root: str, software: Software) -> str:
    return os.path.join(_directory(root, software), ".complete")


def _is_complete(root: str, software: Software) -> bool:
    return os.path.exists(_version_file(root, software))


def _build(root: str, software: Software) -> None:
    directory = _directory(root, software)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        python = software.make(directory)
        _run([python, "-m", "pip", "install", "--quiet", "--no-warn-script-location", "--disable-pip-version-check"]
             + software.requirements)
        # Users can't write bytecode here: without it each start would compile everything anew.
        subprocess.run([python, "-m", "compileall", "-q", "-x", "lib2to3|bad_coding|py3",
                        os.path.join(directory, "lib")],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        version = software.version or _run(
            [python, "-c", "from importlib.metadata import version; print(version(%r))" % software.distribution]).strip()
        _run(["chmod", "-R", "go+rX", directory])
        # As a user of the cluster would run it, who can't read what root can.
        _run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-c", "import notebook"])
        with open(_version_file(root, software), "w", encoding="utf-8") as stream:
            stream.write(version)
    except NotBuilt:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _run(argv: List[str]) -> str:
    environment = {name: value for name, value in os.environ.items()
                   if name.startswith("PIP_") or name in ("PATH", "HOME", "http_proxy", "https_proxy", "no_proxy")}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          umask=0o022, env=environment, check=False)
    if done.returncode:
        raise NotBuilt("%s: %s" % (" ".join(argv[:4]), done.stderr.strip()[-2000:]))
    return done.stdout


def _write_modulefiles(root: str) -> None:
    for software in SOFTWARE:
        if _is_complete(root, software):
            with open(_version_file(root, software), encoding="utf-8") as stream:
                version = stream.read()
            directory = _directory(root, software)
            _write_modulefile(root, software.module, version, "\n".join([
                "module-whatis {%s of the test cluster}" % software.module,
                "conflict jupyterlab notebook-classic python" if software.module != "python"
                else "conflict jupyterlab notebook-classic",
                "prepend-path PATH {%s/bin}" % directory,
                "prepend-path JUPYTER_PATH {%s/share/jupyter}" % directory]))
    _write_modulefile(root, "openmpi", _openmpi_version(), "\n".join([
        "module-whatis {Open MPI of Debian}",
        "prepend-path PATH /usr/bin",
        "setenv MPI_HOME {%s}" % _openmpi_home()]))


def _write_modulefile(root: str, module: str, version: str, body: str) -> None:
    directory = os.path.join(modulefiles(root), module)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    # Another cluster may be loading it right now: in one step, and no other version beside it.
    with open(os.path.join(directory, ".new"), "w", encoding="utf-8") as stream:
        stream.write("#%Module1.0\n" + body + "\n")
    os.replace(os.path.join(directory, ".new"), os.path.join(directory, version))
    for other in set(os.listdir(directory)) - {version}:
        os.unlink(os.path.join(directory, other))


def _openmpi_home() -> str:
    return os.path.dirname(os.path.dirname(os.path.realpath("/usr/bin/mpirun.openmpi")))


def _openmpi_version() -> str:
    first: Optional[str] = _run(["/usr/bin/mpirun.openmpi", "--version"]).splitlines()[0]
    return (first or "").rsplit(" ", 1)[-1]


if __name__ == "__main__":
    prepare(sys.argv[1], print)
