# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module ``trust``; its documentation is in plugins/modules/trust.py."""

from __future__ import annotations

import pathlib
import shlex

from ansible.plugins.action import ActionBase
from ansible_collections.hpc.jupyter.plugins.module_utils.files import printable
from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate as certificates
from ansible_collections.hpc.jupyter.plugins.plugin_utils import trust
from ansible_collections.hpc.jupyter.plugins.plugin_utils.arguments import specification

_OF_THE_USER = ("chromium", "firefox", "macos", "windows")
_NAMES = {"chromium": "Chromium", "firefox": "Firefox", "macos": "macOS", "windows": "Windows", "system": "System"}


class ActionModule(ActionBase):
    """Tells browsers and systems on this computer to trust the user's certificate authority."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp=None, task_vars=None):
        """Run the task; its result is described in the module's RETURN."""
        super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(argument_spec=specification("trust"))
        if self._connection.transport not in ("local", "ansible.builtin.local"):
            return _failed("not-local", "Browsers are on this computer: run this with 'hosts: localhost' and 'connection: local'. Nothing was changed.")
        try:
            return self._trust(arguments)
        except certificates.CertificateError as error:
            return _failed("certificate-authority", f"{error} Nothing was changed.")

    def _trust(self, arguments: dict) -> dict:
        check = self._task.check_mode
        wanted = arguments["state"] == "present"
        directory = pathlib.Path(arguments["ca_dir"]) if arguments["ca_dir"] else certificates.default_directory()
        result = {"changed": False, "stores": [], "actions": [], "warnings": [], "ca_certificate": str(directory / "ca.crt")}
        pem = certificates.authority_to_trust(directory)
        if pem is None:
            if not wanted:
                result["warnings"].append(f"There is no certificate authority in {directory}; what a browser trusts of an earlier one has to be removed there.")
                return result
            result["changed"] = True
            result["actions"].append(f"Made your own certificate authority in {directory}.")
            if not check:
                pem = certificates.Authority.open(directory).pem
        kinds = tuple(dict.fromkeys(kind for store in arguments["stores"] for kind in (_OF_THE_USER if store == "auto" else (store,))))
        stores = trust.find(kinds, self._command, pathlib.Path.home())
        if not stores:
            return dict(result, **_failed(
                "no-store",
                f"No browser or system store of these kinds was found here: {', '.join(kinds)}. Import {directory}/ca.crt by hand; "
                "docs/certificates.md of the collection says how."))
        certificate = None if pem is None else trust.Certificate(
            certificates.name(pem), str(directory / "ca.crt"), pem, certificates.fingerprint(pem, "sha1"))
        for store in stores:
            self._bring(store, certificate, wanted, check, result)
        for line in _told(result, arguments["stores"], wanted, check):
            self._display.display(line)
        result["changed"] = result["changed"] or any(one["changed"] for one in result["stores"])
        if self._task.diff:
            result["diff"] = [
                {"before": _state(not wanted), "after": _state(wanted), "before_header": one["path"], "after_header": one["path"]}
                for one in result["stores"] if one["changed"]
            ]
        if all(one["state"] == "failed" for one in result["stores"]):
            return dict(result, **_failed("store", " ".join(result["warnings"])))
        return result

    def _bring(self, store: trust.Store, certificate: trust.Certificate | None, wanted: bool, check: bool, result: dict) -> None:
        """Bring one store to the wanted state; one that fails is told and does not stop the others."""
        try:
            changes = certificate is None or store.has(certificate) != wanted
            if changes and not check:
                (store.add if wanted else store.remove)(certificate)
        except (trust.StoreError, OSError) as error:
            result["warnings"].append(f"{_named(store.kind, store.path)} {printable(str(error))}.")
            result["stores"].append({"kind": store.kind, "path": store.path, "state": "failed", "changed": False})
            return
        result["stores"].append({"kind": store.kind, "path": store.path, "state": _state(wanted).strip(), "changed": changes})
        if changes:
            done = "trusts the authority now" if wanted else "trusts the authority no more"
            result["actions"].append(f"{_named(store.kind, store.path)} {done}. Restart the browser if it is running.")

    def _command(self, argv: list) -> trust.Completed:
        # In the C locale the tools' messages are the ones that were tried.
        done = self._low_level_execute_command("LC_ALL=C " + shlex.join(argv), executable="/bin/sh")
        return trust.Completed(done["rc"], done["stdout"], done["stderr"])


def _told(result: dict, asked: list[str], wanted: bool, check: bool) -> list[str]:
    """Return a line for each store, and for each kind of browser that a person may have thought of and that is not there."""
    lines = []
    for one in result["stores"]:
        if one["state"] == "failed":
            said = "could not be read or changed, as the warning says."
        elif not one["changed"]:
            said = "trusts the authority already." if wanted else "does not trust the authority, as before."
        elif check:
            said = "would trust the authority." if wanted else "would trust the authority no more."
        else:
            said = f"{'trusts the authority now' if wanted else 'trusts the authority no more'}. Restart the browser if it is running."
        lines.append(f"{_named(one['kind'], one['path'])} {said}")
    found = {one["kind"] for one in result["stores"]}
    # The browsers of macOS and Windows look in the store of the system's user.
    expected = ("chromium", "firefox") if "auto" in asked and not found & {"macos", "windows"} else ()
    return lines + [f"{_NAMES[kind]}: none found." for kind in dict.fromkeys((*expected, *asked)) if kind in _NAMES and kind not in found]


def _named(kind: str, path: str) -> str:
    return f"{_NAMES[kind]} ({path}):"


def _state(trusted: bool) -> str:
    return "trusted\n" if trusted else "not trusted\n"


def _failed(cause: str, message: str) -> dict:
    return {"failed": True, "cause": cause, "msg": message}
