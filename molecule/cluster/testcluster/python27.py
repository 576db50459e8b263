# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python 2.7 in a directory of its own: a copy of one that is at hand, else Debian's last one.

That is of a release whose other packages do not belong on this machine, so its files are unpacked and nothing is installed.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from typing import Callable, List, Optional

# The last release of Debian that has it, and what it needs that later ones lack.
RELEASE = "bullseye"
PACKAGES = ["libpython2.7-minimal", "python2.7-minimal", "libpython2.7-stdlib", "python2.7", "libssl1.1", "libffi7"]
# The last that makes environments for it, with the pip and the setuptools that it runs.
VIRTUALENV = "virtualenv<20.22"

Run = Callable[[List[str]], str]


def make(directory: str, run: Run, system_python: str) -> str:
    """Make the environment; return its python.

    :param run: runs a command and returns what it prints; what it raises goes through.
    :param system_python: a Python 3 that can make virtual environments.
    """
    prefix = at_hand()
    return _copy(prefix, directory, run) if prefix else _unpacked(directory, run, system_python)


def at_hand() -> Optional[str]:
    """The prefix of a Python 2.7 that has one of its own, pyenv's for instance; None where there is none."""
    candidates = [shutil.which("python2.7")]
    pyenv = shutil.which("pyenv")
    if pyenv:
        root = subprocess.run([pyenv, "root"], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
        candidates += sorted(glob.glob(os.path.join(root, "versions", "2.7*", "bin", "python2.7")), reverse=True)
    for python in filter(None, candidates):
        found = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip() not in ("", "/usr"):
            return found.stdout.strip()
    return None


def _copy(prefix: str, directory: str, run: Run) -> str:
    # The interpreter at hand may lie in a home that the cluster's users can't read.
    shutil.copytree(prefix, directory, symlinks=True, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("test", "tests", "*.a"))
    python = os.path.join(directory, "bin", "python2.7")
    for script in glob.glob(os.path.join(directory, "bin", "*")):
        if not os.path.basename(script).startswith("python"):
            os.unlink(script)
    run(["patchelf", "--set-rpath", "$ORIGIN/../lib", os.path.realpath(python)])
    return python


def _unpacked(directory: str, run: Run, system_python: str) -> str:
    base = os.path.join(directory, "debian")
    os.makedirs(base)
    with tempfile.TemporaryDirectory() as work:
        for package in _download(work, run):
            run(["dpkg-deb", "-x", package, base])
        python = os.path.join(base, "usr", "bin", "python2.7")
        libraries = [os.path.dirname(path) for path in glob.glob(os.path.join(base, "usr", "lib", "*", "libssl.so.1.1"))]
        # The older kind of search path, for it counts for what Python itself loads, too.
        run(["patchelf", "--force-rpath", "--set-rpath", ":".join(libraries), python])
        helper = os.path.join(work, "helper")
        run([system_python, "-m", "venv", helper])
        run([os.path.join(helper, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", VIRTUALENV])
        run([os.path.join(helper, "bin", "python"), "-m", "virtualenv", "--quiet", "--no-periodic-update", "-p", python, directory])
    return os.path.join(directory, "bin", "python")


def _download(work: str, run: Run) -> List[str]:
    """Fetch the packages from the mirror that this machine uses, past its own lists; return their files."""
    mirrors = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main", "Origin: Debian"]).split()
    for name in ("lists/partial", "archives/partial"):
        os.makedirs(os.path.join(work, name))
    with open(os.path.join(work, "sources.list"), "w", encoding="utf-8") as stream:
        stream.write("deb %s %s main\n" % (mirrors[0] if mirrors else "", RELEASE))
    options = [word for option in (
        "Dir::Etc::SourceList=%s/sources.list" % work, "Dir::Etc::SourceParts=/dev/null", "Dir::State::Lists=%s/lists" % work,
        "Dir::Cache=%s" % work, "Dir::State::Status=/dev/null", "APT::Sandbox::User=root") for word in ("-o", option)]
    run(["apt-get", *options, "-q", "update"])
    run(["sh", "-c", 'cd "$0" && exec "$@"', work, "apt-get", *options, "-q", "download", *PACKAGES])
    return sorted(glob.glob(os.path.join(work, "*.deb")))
