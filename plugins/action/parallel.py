# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module ``parallel``; its documentation is in plugins/modules/parallel.py."""

from __future__ import annotations

import pathlib

from ansible_collections.hpc.jupyter.plugins.plugin_utils.arguments import specification
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import ProgramAction

_FILES = pathlib.Path(__file__).resolve().parents[2] / "roles" / "parallel" / "files"


class ActionModule(ProgramAction):
    """Deploys the ipyparallel profiles, their launchers and the example notebook."""

    def run(self, tmp=None, task_vars=None):
        """Run the task; its result is described in the module's RETURN."""
        super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(argument_spec=specification("parallel"))
        example = arguments.pop("example")
        request = dict(
            arguments,
            check=self._task.check_mode,
            engines=(_FILES / "hpc_jupyter_engines.py").read_text(encoding="utf-8"),
            notebook=(_FILES / "parallel.ipynb").read_text(encoding="utf-8") if example else None,
        )
        return self.answered(lambda: self.program("parallel", request, task_vars), task_vars)
