# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job script: what a site's environment needs before Jupyter can be started.

The same environment lines are run by setup's preflight on the login node, so that a module that
does not exist is told before anything is submitted.
"""

import shlex

from . import places

# A batch job's shell is no login shell, and many sites define `module` in login shells only.
_MODULE_COMMAND = """\
if ! command -v module >/dev/null 2>&1; then
  for init in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh "${MODULESHOME:-/nowhere}/init/bash" \\
      /usr/share/modules/init/bash /usr/share/Modules/init/bash /usr/share/lmod/lmod/init/bash; do
    if [ -r "$init" ]; then . "$init"; fi
    if command -v module >/dev/null 2>&1; then break; fi
  done
fi
if ! command -v module >/dev/null 2>&1; then
  echo "hpc.jupyter: no module command on $(hostname), so these can't be loaded: %(names)s"
  exit 3
fi
"""

# Environment Modules 3 exits 0 for a module that it can't find; there LOADEDMODULES tells.
_LOAD = """\
module load %(word)s || { echo "hpc.jupyter: 'module load %(name)s' failed on $(hostname)"; exit %(status)d; }
case "${MODULE_VERSION:-}" in 3.*)
  case ":${LOADEDMODULES:-}:" in
    *:%(word)s:*|*:%(word)s/*) ;;
    *) echo "hpc.jupyter: 'module load %(name)s' failed on $(hostname)"; exit %(status)d ;;
  esac ;;
esac
"""

# The first Python that has a Jupyter; find_spec costs no import. Python 2.7 has it under another name.
_FIND = """\
jupyter_probe='
try:
    from importlib.util import find_spec
except ImportError:
    from pkgutil import find_loader as find_spec
import sys
sys.exit(not (find_spec("jupyter_server") or find_spec("notebook")))'
JUPYTER_PYTHON=
for candidate in %(candidates)s; do
  if %(known)s%(container)s"$candidate" -c "$jupyter_probe" >/dev/null 2>&1; then JUPYTER_PYTHON=$candidate; break; fi
done
if [ -z "$JUPYTER_PYTHON" ]; then
  echo "hpc.jupyter: no Jupyter for any of: %(names)s (PATH is $PATH)"
  exit 4
fi
"""

# Until the keeper runs (exec drops the trap) nobody else takes the successor away, which would fail in the same way.
_FAILED_EARLY = """\
failed_early() {
  if [ "$1" -ne 0 ] && [ -n "$JUPYTER_LAUNCH" ]; then
    "$JUPYTER_SITE_DIR/python" -I "$JUPYTER_SITE_DIR/program.pyz" drop-successor "$JUPYTER_SESSION" --batch-dir "$JUPYTER_BATCH_DIR" \\
      >/dev/null 2>&1 </dev/null
  fi
}
trap 'failed_early "$?"' EXIT
"""

MODULE_FAILED = 3
NO_JUPYTER = 4


class Environment(object):
    """What makes Jupyter available on a node.

    Paths are expanded here, on the login node: in the script they stand between quotes.

    :param modules: list of str, for ``module load``, in order.
    :param module_paths: list of str, directories for ``module use``.
    :param venv: str or None, directory of a virtual environment.
    :param conda: str or None, name or prefix of a conda environment.
    :param container: str or None, a command that runs what follows it (``apptainer exec image.sif``).
    :param python: str or None, name or path of the Python that runs Jupyter, where the search should not decide.
    :param variables: dict, environment variables to export.
    :param commands: list of str, shell lines of the site's own, run after the modules.
    :raises Failure: for a path that can't be expanded.
    """

    def __init__(self, modules=(), module_paths=(), venv=None, conda=None, container=None, python=None, variables=None, commands=()):
        self.modules = list(modules or ())
        self.module_paths = [places.expand("jupyter_module_paths", path) for path in module_paths or ()]
        self.venv = places.expand("jupyter_venv", venv) if venv else None
        self.conda = _name_or_path("jupyter_conda", conda)
        self.container = container
        self.python = _name_or_path("jupyter_python", python)
        self.variables = dict(variables or {})
        self.commands = list(commands or ())

    def lines(self, known=None):
        """Return the shell lines that set the environment up and leave JUPYTER_PYTHON set (str).

        :param known: str or None, path of a Python that was seen to have Jupyter: to start one only to ask takes its time.
        """
        candidates = [self.python] if self.python else ["python3", "python"]
        return self.setup_lines() + _FIND % {
            "candidates": " ".join(shlex.quote(candidate) for candidate in candidates),
            "names": _in_double_quotes(" ".join(candidates)),
            "container": self.container + " " if self.container else "",
            "known": '[ "$(command -v "$candidate")" = %s ] || ' % shlex.quote(known) if known and not self.container else "",
        }

    def setup_lines(self):
        """Return the shell lines that set the environment up (str)."""
        parts = []
        for name in sorted(self.variables):
            parts.append("export %s=%s\n" % (name, shlex.quote(str(self.variables[name]))))
        if self.modules or self.module_paths:
            parts.append(_MODULE_COMMAND % {"names": _in_double_quotes(" ".join(self.modules))})
        for path in self.module_paths:
            parts.append("module use %s\n" % shlex.quote(path))
        for module in self.modules:
            parts.append(_LOAD % {"word": shlex.quote(module), "name": _in_double_quotes(module), "status": MODULE_FAILED})
        if self.venv:
            parts.append(". %s/bin/activate\n" % shlex.quote(self.venv))
        if self.conda:
            parts.append(
                'eval "$(conda shell.bash hook)"\nconda activate %s || { echo "hpc.jupyter: \'conda activate\' failed"; exit %d; }\n'
                % (shlex.quote(self.conda), MODULE_FAILED))
        for command in self.commands:
            parts.append(command.rstrip("\n") + "\n")
        return "".join(parts)


def render(directives, environment, batch_dir, submit_command, python=None, site_dir='"$JUPYTER_BATCH_DIR"', written_by="setup"):
    """Return the job script.

    :param directives: list of str, the scheduler's header lines.
    :param environment: Environment.
    :param batch_dir: str, the directory of the sessions, as a word of the shell.
    :param submit_command: str, what a person types to submit it by hand.
    :param python: str or None, path of the Python that was seen to have Jupyter in this environment.
    :param site_dir: str, the directory of the keeper and the program, as a word of the shell.
    :param written_by: str, the playbook.
    """
    container = environment.container + " " if environment.container else ""
    return "\n".join(["#!/bin/bash"] + list(directives) + [
        "# Written by hpc.jupyter.%s, which replaces it when its settings change." % written_by,
        "# By hand:  %s" % submit_command,
        "umask 077",
        "JUPYTER_SESSION=default",
        "JUPYTER_LAUNCH=",
        "JUPYTER_BATCH_DIR=%s" % batch_dir,
        "JUPYTER_SITE_DIR=%s" % site_dir,
        _FAILED_EARLY,
        environment.lines(python).rstrip("\n"),
        "",
        # exec, so that the scheduler's signals reach the keeper.
        'exec %s"$JUPYTER_PYTHON" "$JUPYTER_SITE_DIR/keeper.pyz" --batch-dir "$JUPYTER_BATCH_DIR" --site-dir "$JUPYTER_SITE_DIR" \\\n'
        '  --session "$JUPYTER_SESSION" --launch "$JUPYTER_LAUNCH"' % container,
        "",
    ])


def _name_or_path(variable, value):
    return places.expand(variable, value) if value and "/" in value else value


def _in_double_quotes(text):
    """Return text that a shell shows as it is between double quotes."""
    return "".join("\\" + char if char in '"\\$`' else char for char in text).replace("\n", " ")
