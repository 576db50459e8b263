# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module ``session``; its documentation is in plugins/modules/session.py."""

from __future__ import annotations

import hashlib
import json
import os
import sys

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.hpc.jupyter.plugins.module_utils.failure import sentence
from ansible_collections.hpc.jupyter.plugins.plugin_utils import progress, reach
from ansible_collections.hpc.jupyter.plugins.plugin_utils.arguments import place, specification
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import (
    ProgramAction,
    ProgramFailed,
    program_digest,
)

_RESOURCES = ("nodes", "cores", "memory", "gpus", "walltime", "queue", "account", "options")


class ActionModule(ProgramAction):
    """Launches, connects and stops sessions."""

    _for_who_logs_in = True
    _takes_long = True

    def run(self, tmp=None, task_vars=None):
        """Run the task; its result is described in the module's RETURN."""
        super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(argument_spec=specification("session"))
        work = self._stop if arguments["state"] == "stopped" else self._launch
        try:
            return self.answered(lambda: work(arguments, task_vars), task_vars)
        except reach.ReachFailed as error:
            return {"failed": True, "cause": error.cause, "msg": str(error)}

    # -- launch and connect ----------------------------------------------------------------

    def _launch(self, arguments: dict, task_vars: dict) -> dict:
        laptop = reach.Laptop.from_task(arguments, self.login_variables(task_vars), self._connection)
        try:
            return self._launch_from(laptop, arguments, task_vars)
        finally:
            laptop.abandon()

    def _launch_from(self, laptop: reach.Laptop, arguments: dict, task_vars: dict) -> dict:
        request = self._request(arguments, laptop)
        launching = arguments["state"] == "launched"
        verb = "launch" if launching else "look"
        shown = progress.Progress(self._display.display, task_vars["inventory_hostname"])
        held = None if self._task.check_mode else laptop.held(arguments["name"], _asked(request))
        if held:
            view, tunnel = held
            shown.show(view)
            return self._at_hand(view, tunnel, [], False, arguments, task_vars, shown)
        view = first = self.program(verb, request, task_vars)
        outdated = first.pop("outdated", False)
        if outdated:
            host, site_dir = task_vars["inventory_hostname"], arguments["site_dir"]
            self._display.warning(
                f"What is installed in {site_dir} on {host} is of another version of this collection than this launch, which sends along what "
                "it needs. Tell the site's staff, who bring it up to date with 'ansible-playbook hpc.jupyter.site'." if site_dir else
                f"What setup put on {host} is of another version of this collection than this launch. Run 'ansible-playbook hpc.jupyter.setup' again.")
        # A check tells what is, and what it is waits for is no part of that.
        if not first.get("would_submit") and not self._task.check_mode:
            view = self._await(first, request, arguments, task_vars, shown, laptop)
            if launching and view.get("cause") == "certificate" and self._renew_certificate(first, arguments, task_vars, shown):
                first = self.program(verb, request, task_vars)
                view = self._await(first, request, arguments, task_vars, shown, laptop)
        # So that what a play does with the tunnel does not fail where there is none.
        result = dict(_public(view, bool(first.get("changed"))), tunnel=reach.no_tunnel())
        differs = progress.differences(view, first.get("differs"))
        problem = progress.problem(view, launching)
        if problem:
            return dict(result, failed=True, msg=problem)
        if view["state"] != "ready":
            result["msg"] = "\n".join([progress.next_steps(view), *differs])
            shown.finish(progress.headed(result["msg"], task_vars))
            return result
        try:
            tunnel = self._reach(laptop, arguments, view, task_vars, shown)
        except reach.ReachFailed as error:
            # The session is there all the same, and may have moved.
            return dict(result, **_public(view, result["changed"]), failed=True, cause=error.cause, msg=str(error))
        # The server may have moved for its route.
        result = self._at_hand(view, tunnel, differs, bool(first.get("changed")), arguments, task_vars, shown)
        if self._task.check_mode:
            return result
        if not (differs or outdated):
            # Anew, for the site's route is known by now.
            laptop.remember(view, _asked(self._request(arguments, laptop)))
        if launching and view["endpoint"]["kind"] == "tls":
            # For the next job: this one serves from a copy of its own.
            result["changed"] = self._renew_certificate(first, arguments, task_vars, shown) or result["changed"]
        return result

    def _at_hand(
        self, view: dict, tunnel: dict, differs: list[str], changed: bool, arguments: dict, task_vars: dict, shown: progress.Progress
    ) -> dict:
        """Tell of a session that can be used now; return the result."""
        if arguments["tunnel"] == "browser" and tunnel["open"] and not self._task.check_mode:
            import webbrowser

            # A browser that can't be started is no reason to fail: the address is printed below.
            if not _has_desktop() or not webbrowser.open(tunnel["url"]):
                tunnel["notes"].append("no browser could be opened here")
        changed = tunnel.pop("changed") or changed
        if shown.waited and arguments["notify"]:
            progress.notify(view, tunnel["url"])
        message = "\n".join([progress.ready(view, tunnel, emit=arguments["tunnel"] == "emit"), *differs])
        shown.finish(progress.headed(message, task_vars))
        return dict(_public(view, changed), tunnel=tunnel, msg=message)

    def _await(
        self, view: dict, request: dict, arguments: dict, task_vars: dict, shown: progress.Progress, laptop: reach.Laptop
    ) -> dict:
        """Wait until the session is ready, lost or the wait limit is up, showing each change; return the last view."""
        waited = False
        while True:
            shown.show(view)
            left = arguments["wait_timeout"] - shown.seconds
            # A scheduler that goes silent meanwhile does not end the wait: its job is most likely there.
            waited = progress.waits(view) or waited and view["state"] == "unknown"
            if not waited or view["hopeless"] or left <= 0:
                return view
            if view["state"] == "starting":
                laptop.begin(view)
            view = self.program(
                "look", dict(request, seen=view["fingerprint"], asked=view.get("asked"), hold=min(arguments["hold"], max(1, left))), task_vars
            )

    def _renew_certificate(self, first: dict, arguments: dict, task_vars: dict, shown: progress.Progress) -> bool:
        """Put a new certificate in place of one that is over or nearly so; return whether that was done.

        What goes wrong in this is told, and is no reason for a launch to fail.
        """
        # Costs a tenth of a second, which a launch by way of a socket need not pay.
        from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate

        request = {"config_dir": first["config_dir"], **place(arguments), "root_dir": None, "settings": {}}
        try:
            found = self.program("server_inspect", request, task_vars)["certificate"]
            authority = certificate.Authority.open(arguments["ca_dir"], create=False)
            issued = authority and certificate.successor_of(found["pem"], authority, found["key"])
            if not issued:
                return False
            pair = {
                "certificate": issued.certificate, "key": issued.key,
                "before": certificate.describe(found["pem"]), "after": certificate.describe(issued.certificate),
            }
            apply = dict(request, password_hash=None, forget_logins=False, certificate=pair)
            changed = self.program("server_apply", apply, task_vars)["changed"]
        except certificate.NoKey:
            # As docs/certificates.md has it for a laptop whose browser is to trust the certificates of another computer.
            return False
        except (certificate.CertificateError, ProgramFailed, AnsibleConnectionFailure) as error:
            shown.say(f"the certificate was left as it is: {sentence(error)}")
            return False
        shown.say(f"the certificate was renewed; it is valid until {issued.expires:%Y-%m-%d}")
        return changed

    def _request(self, arguments: dict, laptop: reach.Laptop) -> dict:
        job = {key: arguments[key] for key in ("root_dir", "idle_timeout")}
        job["settings"] = arguments["settings"] or None
        job.update(laptop.endpoint())
        return {
            **place(arguments),
            "session": arguments["name"],
            "resources": {key: arguments[key] for key in _RESOURCES},
            "job": job,
            "renewals": arguments["renewals"],
            "mail": arguments["mail"],
            "hold": min(arguments["hold"], arguments["wait_timeout"]),
            "check": self._task.check_mode,
            "program": program_digest(),
        }

    def _reach(self, laptop: reach.Laptop, arguments: dict, view: dict, task_vars: dict, shown) -> dict:
        def program(verb: str, **request) -> dict:
            return self.program(verb, dict(request, **place(arguments), session=arguments["name"]), task_vars)

        # Where the tunnel is not opened here, only the person sees that a way does not work any more, and asks for another.
        fresh = arguments["state"] == "connected" and arguments["tunnel"] == "emit"
        return laptop.reach(view, program, shown.say, check=self._task.check_mode, fresh=fresh)

    # -- stop ------------------------------------------------------------------------------

    def _stop(self, arguments: dict, task_vars: dict) -> dict:
        laptop = reach.Laptop.from_task(arguments, self.login_variables(task_vars), self._connection)
        answer = self.program("stop", {
            **place(arguments),
            "session": None if arguments["all"] else arguments["name"],
            "grace": arguments["grace"],
            "check": self._task.check_mode,
        }, task_vars)
        changed = answer["changed"]
        for view in answer["sessions"]:
            changed = laptop.close(view["session"], check=self._task.check_mode) or changed
        message = progress.stopped(answer["sessions"], self._task.check_mode, None if arguments["all"] else arguments["name"])
        if answer["sessions"] or not answer["not_stopped"]:
            self._display.display(progress.headed(message, task_vars))
        first = answer["sessions"][0] if answer["sessions"] else {}
        result = {
            "changed": changed,
            "sessions": [{key: value for key, value in view.items() if key != "others"} for view in answer["sessions"]],
            "session": arguments["name"],
            "state": first.get("state", "none"),
            "job": first.get("job"),
            "msg": message,
        }
        left = answer["not_stopped"]
        if left:
            ended = [message] if answer["sessions"] else []
            result.update(failed=True, cause=left[0]["cause"], not_stopped=left, msg=" ".join(ended + [one["msg"] for one in left]))
        return result


def _asked(request: dict) -> str:
    """Return what tells one request for a session from another; what it holds can't be read from it."""
    kept = {name: value for name, value in request.items() if name not in ("hold", "check")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _has_desktop() -> bool:
    """Tell whether a browser could show itself here; one for the terminal would take the terminal from Ansible."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def _public(view: dict, changed: bool) -> dict:
    ours = (
        "fingerprint", "differs", "asked", "would_submit", "set_up", "rehearsal", "relay_dir", "outdated", "connect", "node_name",
        "control", "endpoint_of_site", "others",
    )
    result = {key: value for key, value in view.items() if key not in ours}
    return dict(result, changed=changed)
