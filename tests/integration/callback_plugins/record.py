# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints every task's result as one line of JSON, beside what the default callback shows a person."""

from __future__ import annotations

DOCUMENTATION = """
name: record
type: notification
short_description: Prints every task's result as one line of JSON
description:
  - For tests, which look at results and at what a person sees in the same run.
options: {}
author: hpc.jupyter contributors
"""

import json  # noqa: E402
import sys  # noqa: E402

from ansible.plugins.callback import CallbackBase  # noqa: E402

MARK = "@@record "


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def _record(self, outcome, result):
        task = getattr(result, "task", None) or result._task
        answer = result.result if hasattr(result, "result") else result._result
        line = json.dumps({"outcome": outcome, "action": task.action, "task": task.get_name(), "result": answer}, default=str)
        sys.stdout.write("\n" + MARK + line + "\n")
        sys.stdout.flush()

    def v2_runner_on_ok(self, result):
        self._record("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._record("failed", result)

    def v2_runner_on_unreachable(self, result):
        self._record("unreachable", result)
