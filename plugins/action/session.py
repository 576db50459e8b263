# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module ``session``; its documentation is in plugins/modules/session.py."""

from __future__ import annotations

import os
import time
import webbrowser

from ansible.errors import AnsibleConnectionFailure

from ansible_collections.hpc.jupyter.plugins.plugin_utils import progress, reach
from ansible_collections.hpc.jupyter.plugins.plugin_utils.arguments import specification
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import (
    ProgramAction,
    ProgramFailed,
    reach_failure,
)

WAITING = ("queued", "held", "starting")
_RESOURCES = ("nodes", "cores", "memory", "gpus", "walltime", "queue", "account", "options")


class ActionModule(ProgramAction):
    """Launches, connects and stops sessions."""

    def run(self, tmp=None, task_vars=None):
        """Run the task; its result is described in the module's RETURN."""
        super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(argument_spec=specification("session"))
        host = task_vars["inventory_hostname"]
        try:
            if arguments["state"] == "stopped":
                return self._stop(arguments, task_vars)
            return self._launch(arguments, task_vars)
        except ProgramFailed as error:
            return error.answer
        except reach.ReachFailed as error:
            return dict(error.answer, failed=True, cause=error.cause, msg=str(error))
        except AnsibleConnectionFailure as error:
            return reach_failure(error, host)

    # -- launch and connect ----------------------------------------------------------------

    def _launch(self, arguments: dict, task_vars: dict) -> dict:
        laptop = reach.Laptop.from_task(arguments, task_vars, self._connection)
        request = self._request(arguments, laptop)
        begun = time.monotonic()
        launching = arguments["state"] == "launched"
        view = self.program("launch" if launching else "look", request, task_vars)
        changed = bool(view.get("changed"))
        shown = progress.Progress(self._display.display, task_vars["inventory_hostname"])
        try:
            while not view.get("would_submit"):
                shown.show(view)
                left = arguments["wait_timeout"] - (time.monotonic() - begun)
                if view["state"] not in WAITING or view["hopeless"] or left <= 0:
                    break
                view = self.program(
                    "look", dict(request, seen=view["fingerprint"], hold=min(arguments["hold"], max(1, left))), task_vars
                )
        except KeyboardInterrupt:
            shown.interrupted(view)
            raise
        result = _public(view, changed)
        problem = progress.problem(view, launching)
        if problem:
            return dict(result, failed=True, msg=problem)
        if view["state"] != "ready":
            result["msg"] = progress.next_steps(view)
            shown.finish(result["msg"])
            return result
        result["tunnel"] = self._reach(laptop, arguments, view, task_vars, shown)
        opened = result["tunnel"].pop("changed")
        if shown.waited and arguments["notify"]:
            progress.notify(view, result["tunnel"]["url"])
        result["msg"] = progress.ready(view, result["tunnel"])
        result["changed"] = changed or opened
        shown.finish(result["msg"])
        return result

    def _request(self, arguments: dict, laptop: reach.Laptop) -> dict:
        job = {key: arguments[key] for key in ("root_dir", "idle_timeout")}
        job["settings"] = arguments["settings"] or None
        job.update(laptop.endpoint())
        return {
            "batch_dir": arguments["batch_dir"],
            "session": arguments["name"],
            "resources": {key: arguments[key] for key in _RESOURCES},
            "job": job,
            "renewals": arguments["renewals"],
            "mail": arguments["mail"],
            "hold": min(arguments["hold"], arguments["wait_timeout"]),
            "check": self._task.check_mode,
        }

    def _reach(self, laptop: reach.Laptop, arguments: dict, view: dict, task_vars: dict, shown) -> dict:
        def program(verb: str, **request) -> dict:
            return self.program(verb, dict(request, batch_dir=arguments["batch_dir"], session=arguments["name"]), task_vars)

        tunnel = laptop.reach(view, program, shown.say, check=self._task.check_mode)
        if arguments["tunnel"] == "browser" and tunnel["open"] and not self._task.check_mode:
            # A browser that can't be started is no reason to fail: the address is printed anyway.
            if not (os.environ.get("BROWSER") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or not webbrowser.open(tunnel["url"]):
                tunnel["notes"].append(f"no browser could be opened here; open {tunnel['url']} yourself")
        return tunnel

    # -- stop ------------------------------------------------------------------------------

    def _stop(self, arguments: dict, task_vars: dict) -> dict:
        laptop = reach.Laptop.from_task(arguments, task_vars, self._connection)
        answer = self.program("stop", {
            "batch_dir": arguments["batch_dir"],
            "session": None if arguments["all"] else arguments["name"],
            "grace": arguments["grace"],
            "check": self._task.check_mode,
        }, task_vars)
        changed = answer["changed"]
        for view in answer["sessions"]:
            changed = laptop.close(view["session"], check=self._task.check_mode) or changed
        message = progress.stopped(answer["sessions"], self._task.check_mode)
        self._display.display(message)
        first = answer["sessions"][0] if answer["sessions"] else {}
        return {
            "changed": changed,
            "sessions": answer["sessions"],
            "session": arguments["name"],
            "state": first.get("state", "none"),
            "job": first.get("job"),
            "msg": message,
        }


def _public(view: dict, changed: bool) -> dict:
    result = {key: value for key, value in view.items() if key not in ("fingerprint", "would_submit", "set_up", "relay_dir")}
    return dict(result, changed=changed)
