# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login-node program and the keeper can be read by the Pythons they run on, and lean on nothing but the standard library.

Whether they also *do* the same there is for `make matrix`, which runs their tests under each interpreter that is at hand.
"""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Their tests run under 3.6 as well.
TESTS = sorted((ROOT / "tests" / "unit" / "plugins" / "module_utils").rglob("*.py"))
PROGRAM = sorted((ROOT / "plugins" / "module_utils").rglob("*.py"))
KEEPER = [path for path in PROGRAM if path.parent.name == "keeper"]
# Gone from, or not yet in, one of the versions; each use is behind a try or a test of the version.
OTHER_VERSIONS = {"httplib", "urllib2", "urlparse", "Queue", "StringIO", "ConfigParser", "cPickle", "__builtin__"}

# Runs within the Python of the user's Jupyter, as Jupyter.
WITH_JUPYTER = {"keeper/serve.py"}


def named(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT / "plugins" / "module_utils"))


def interpreters() -> dict[str, str]:
    """The Pythons of this machine, by version."""
    listed = subprocess.run([ROOT / "tools" / "pythons"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in listed.splitlines())


@pytest.mark.parametrize("path", [*PROGRAM, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_python_3_6_reads_it(path: pathlib.Path):
    text = path.read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 6))
    assert "from __future__ import annotations" not in text.splitlines()


@pytest.mark.parametrize("path", PROGRAM, ids=named)
def test_it_imports_nothing_but_the_standard_library_and_its_own(path: pathlib.Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots = {node.module.split(".")[0]}
        else:
            continue
        jupyter = {"jupyter_core"} if named(path) in WITH_JUPYTER else set()
        assert roots <= set(sys.stdlib_module_names) | OTHER_VERSIONS | jupyter


def test_every_interpreter_at_hand_compiles_it():
    code = "import sys\nfor name in sys.argv[1:]:\n    compile(open(name, 'rb').read(), name, 'exec')\n"
    found = interpreters()
    assert found
    for version, python in found.items():
        files = KEEPER if version == "2.7" else PROGRAM
        done = subprocess.run([python, "-c", code, *map(str, files)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"Python {version}: {done.stderr}"
