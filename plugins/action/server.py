# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module ``server``; its documentation is in plugins/modules/server.py."""

from __future__ import annotations

import base64
import secrets
import time

from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate as certificates
from ansible_collections.hpc.jupyter.plugins.plugin_utils import password as passwords
from ansible_collections.hpc.jupyter.plugins.plugin_utils import prompt
from ansible_collections.hpc.jupyter.plugins.plugin_utils.arguments import specification
from ansible_collections.hpc.jupyter.plugins.plugin_utils.remote import ProgramAction

# What a session decides for itself, or what has an option of its own.
_NOT_FOR_SETTINGS = {
    **dict.fromkeys(("password", "hashed_password"), "set jupyter_password or jupyter_password_hash instead"),
    **dict.fromkeys(("token", "cookie_secret"), "each session makes its own"),
    **dict.fromkeys(("root_dir", "notebook_dir"), "set jupyter_root_dir instead"),
    **dict.fromkeys(("ip", "port", "port_retries", "sock", "sock_mode", "certfile", "keyfile"), "each session chooses its own endpoint"),
}
_SERVER_CLASSES = ("ServerApp", "NotebookApp", "IdentityProvider", "PasswordIdentityProvider")
_CLOCKS_DIFFER = 300  # seconds
_ATTEMPTS = 3
_SHORT = 8  # characters
# Only compared and hidden: a check mode that would ask has no hash to show.
_TO_BE_ASKED = "(asked for)"


class _Refused(Exception):
    """The task can't go on; the message says why and what to set, ``cause`` is a short word for programs."""

    def __init__(self, message: str, cause: str):
        super().__init__(message)
        self.cause = cause


class ActionModule(ProgramAction):
    """Puts password, certificate, start directory and settings into the remote ~/.jupyter."""

    def run(self, tmp=None, task_vars=None):
        """Run the task; its result is described in the module's RETURN."""
        super().run(tmp, task_vars)
        for name in ("password", "password_hash"):
            value = self._task.args.get(name)
            if isinstance(value, (bool, dict, list)):
                # Ansible would take its spelling in Python for the password.
                return {"failed": True, "cause": "password", "msg": f"jupyter_{name} is no text. Put it in quotes. Nothing was changed."}
            if value is not None:
                # ansible-core before 2.19 has a type of its own for an encrypted string, and refuses to validate that.
                self._task.args[name] = to_text(value, nonstring="simplerepr")
        _checked, arguments = self.validate_argument_spec(
            argument_spec=specification("server", secret=("password", "password_hash")),
            mutually_exclusive=[("password", "password_hash")],
        )
        host = task_vars["inventory_hostname"]
        work = self._see_to_the_password if arguments["password_only"] else self._set_up
        # Of what came before it in the play, such as role batch, it can't speak.
        left = f"Nothing was changed on {host}{'' if arguments['password_only'] else ' by this step'}."
        try:
            self._check_passwords(arguments)
            return self.answered(lambda: work(arguments, host, task_vars), task_vars)
        except _Refused as error:
            return {"failed": True, "cause": error.cause, "msg": f"{error} {left}"}
        except passwords.PasswordError as error:
            return {"failed": True, "cause": "password", "msg": f"{error} {left}"}
        except certificates.CertificateError as error:
            return {"failed": True, "cause": "certificate-authority", "msg": f"{error} {left}"}

    def _check_passwords(self, arguments: dict) -> None:
        for name, check in (("password", passwords.check_password), ("password_hash", passwords.check_hash)):
            if name not in self._task.args:
                continue
            if not arguments[name]:
                raise _Refused(f"jupyter_{name} is set but empty (as an unset environment variable or a prompt without a terminal leaves it).", "password")
            arguments[name] = check(arguments[name])

    def _see_to_the_password(self, arguments: dict, host: str, task_vars: dict) -> dict:
        """Fail where a setup would find no password, and nobody to ask for one."""
        if arguments["password"] or arguments["password_hash"] or self._task.check_mode:
            return {"changed": False}
        pad = secrets.token_bytes(4096)
        found = self.program("server_inspect", dict(_request(arguments), pad=pad.hex()), task_vars)
        if not any(passwords.algorithm_of(one) for one in _unsealed(found["passwords"], pad)):
            try:
                # Only Ansible's first process sees the terminal; one that is there shows this as a line, and no answer is waited for.
                self._display.prompt_until(f"Jupyter on {host} has no password yet: you will be asked for one.", private=True, seconds=0)
            except AnsiblePromptNoninteractive:
                raise _nobody_to_ask() from None
        return {"changed": False}

    def _set_up(self, arguments: dict, host: str, task_vars: dict) -> dict:
        # All that can be refused without asking the login node.
        _check_settings(arguments["settings"])
        if arguments["certificate_days"] <= arguments["certificate_renew_days"]:
            raise _Refused("jupyter_certificate_days must be more than jupyter_certificate_renew_days.", "bad-arguments")

        request = _request(arguments)
        pad = secrets.token_bytes(4096)
        asked = time.time()
        found = self.program("server_inspect", dict(request, pad=pad.hex()), task_vars)
        warnings = [_clock_warning(found["clock"], asked, time.time(), host)]

        password = self._password(arguments, found, pad, host)
        warnings.extend(password.pop("warnings"))
        certificate = self._certificate(arguments, found)
        warnings.extend(certificate.pop("warnings"))
        answer = found
        if password["hash"] or certificate["pair"] or found["changed"]:
            answer = self.program("server_apply", dict(
                request,
                password_hash=password["hash"],
                forget_logins=password["state"] == "changed",
                certificate=certificate["pair"],
                check=self._task.check_mode,
            ), task_vars)
        result = {
            key: answer[key] for key in ("config_dir", "root_dir", "certfile", "keyfile", "files", "backups", "warnings")
        }
        result.update(
            changed=answer["changed"] or certificate["authority_made"],
            actions=certificate["actions"] + answer["actions"],
            password=password["state"],
            certificate=certificate["state"],
            certificate_reason=certificate["reason"],
            certificate_expires=certificate["expires"],
            ca_certificate=certificate["authority"],
            diff=answer["diff"],
        )
        # Ansible shows these by itself.
        result["warnings"] = result["warnings"] + [one for one in warnings if one]
        return result

    def _password(self, arguments: dict, found: dict, pad: bytes, host: str) -> dict:
        """Decide about the password: ``state``, ``hash`` (None: leave what is there) and ``warnings``."""
        there = _unsealed(found["passwords"], pad)
        usable = [one for one in there if passwords.algorithm_of(one)]
        algorithm = arguments["password_algorithm"]
        if algorithm == "auto" and found["argon2"] is not None:
            algorithm = "argon2" if found["argon2"] else "sha1"
        unreadable = found["argon2"] is False and "Jupyter on the login node can't read argon2 hashes (it has no argon2-cffi)"

        if arguments["password_hash"]:
            hashed = arguments["password_hash"]
            if unreadable and passwords.algorithm_of(hashed) == "argon2":
                raise _Refused(f"{unreadable}: give a sha1 one in jupyter_password_hash, or the password itself in jupyter_password.", "password")
            return _decision("kept" if all(one == hashed for one in there) and there else "changed" if there else "set", hashed, there)

        password = arguments["password"]
        if not password:
            if usable:
                if unreadable and all(passwords.algorithm_of(one) == "argon2" for one in usable):
                    raise _Refused(f"{unreadable}, and the one that is set there is such. Set jupyter_password to have it hashed anew.", "password")
                return {"state": "kept", "hash": None, "warnings": []}
            if self._task.check_mode:
                warning = "No password is set there. Without the check mode it will be asked for, unless jupyter_password or jupyter_password_hash is set."
                return {"state": "set", "hash": _TO_BE_ASKED, "warnings": [warning]}
            password = self._ask(host)

        warnings = [f"The password has fewer than {_SHORT} characters."] if len(password) < _SHORT else []
        matching = [one for one in usable if passwords.verify(password, one)]
        for hashed in matching:
            # As long as nothing says which algorithm suits the Jupyter there, any that verifies does.
            if algorithm == "auto" or not passwords.needs_update(hashed, algorithm):
                state = "kept" if len(matching) == len(there) else "changed"
                return dict(_decision(state, hashed, there), warnings=warnings)
        hashed = passwords.hash_password(password, "argon2" if algorithm == "auto" else algorithm)
        state = "rehashed" if matching and len(matching) == len(there) else "changed" if there else "set"
        return {"state": state, "hash": hashed, "warnings": warnings}

    def _ask(self, host: str) -> str:
        """Ask for a password on the terminal, twice and without showing it."""
        try:
            with prompt.alone():
                for _attempt in range(_ATTEMPTS):
                    typed = self._prompt(f"Choose a password for Jupyter on {host} (not shown):")
                    try:
                        passwords.check_password(typed)
                    except passwords.PasswordError as error:
                        self._display.display(f"{error} Try again.")
                        continue
                    if self._prompt(f"The same again, for {host}:") == typed:
                        return typed
                    self._display.display("The two differ. Try again.")
        except AnsiblePromptNoninteractive:
            raise _nobody_to_ask() from None
        except AnsiblePromptInterrupt:
            raise _Refused("Interrupted while asking for the password.", "interrupted") from None
        raise _Refused(f"No password was chosen in {_ATTEMPTS} attempts.", "no-password")

    def _prompt(self, text: str) -> str:
        return self._display.prompt_until(text, private=True).decode("utf-8", "replace")

    def _certificate(self, arguments: dict, found: dict) -> dict:
        """Decide about the certificate: ``state``, ``pair`` to put there or None, and what to tell."""
        check = self._task.check_mode
        directory = arguments["ca_dir"]
        authority = certificates.Authority.open(directory, create=not check)
        pem = found["certificate"]["pem"]
        reason = certificates.needs_renewal(
            pem, authority, found["certificate"]["key"], arguments["certificate_renew_days"], arguments["certificate_key_type"])
        result = {
            "state": "kept", "reason": None, "pair": None, "warnings": [], "actions": [], "authority_made": authority is None or authority.created,
            "authority": str(authority.path) if authority else None, "expires": _iso(certificates.expires(pem)),
        }
        if result["authority_made"]:
            result["actions"].append(
                "Made your own certificate authority in %s on this computer. Trust it once and no browser complains: "
                "'ansible-playbook hpc.jupyter.trust'." % (authority.directory if authority else directory or certificates.default_directory()))
        if reason:
            result.update(
                state="issued" if reason == "missing" else "renewed",
                reason=certificates.REASONS[reason],
            )
            if authority:
                issued = authority.issue(arguments["certificate_days"], arguments["certificate_key_type"])
                new = {"certificate": issued.certificate, "key": issued.key}
                after = certificates.describe(issued.certificate)
                result["expires"] = _iso(issued.expires)
            else:
                new, after = {}, "(a new certificate)\n"
                result["expires"] = None
            result["pair"] = dict(new, before=certificates.describe(pem), after=after)
        return result


def _request(arguments: dict) -> dict:
    return {key: arguments[key] for key in ("config_dir", "batch_dir", "site_dir", "root_dir", "settings")}


def _nobody_to_ask() -> _Refused:
    return _Refused(
        "No password is set there, and there is no terminal to ask for one. Set jupyter_password, encrypted "
        "('ansible-vault encrypt_string --prompt', which also asks for that name), or a ready hash in jupyter_password_hash.", "no-password")


def _decision(state: str, hashed: str, there: list[str]) -> dict:
    """Return a decision for a hash; None instead of it when every place that is set has it already."""
    return {"state": state, "hash": None if state == "kept" and set(there) == {hashed} else hashed, "warnings": []}


def _unsealed(found: list[dict], pad: bytes) -> list[str]:
    """Return the hashes that the login node sent back combined with the pad; one too long to be a hash comes as "?"."""
    hashes = []
    for one in found:
        if one["sealed"] is None:
            hashes.append("?")
            continue
        sealed = base64.b64decode(one["sealed"])
        hashes.append(passwords.unseal(sealed, pad))
        pad = pad[len(sealed):]
    return hashes


def _check_settings(settings: dict) -> None:
    for name, traits in settings.items():
        if not isinstance(traits, dict):
            raise _Refused(
                f"jupyter_settings has '{name}' without a dict of its settings below it (such as 'ServerApp: {{terminals_enabled: false}}').",
                "bad-settings")
        for trait in traits:
            if name in _SERVER_CLASSES and trait in _NOT_FOR_SETTINGS:
                raise _Refused(f"jupyter_settings has {name}.{trait}: {_NOT_FOR_SETTINGS[trait]}.", "bad-settings")


def _clock_warning(clock: float, before: float, after: float, host: str) -> str | None:
    ahead = clock - after if clock > after else clock - before if clock < before else 0.0
    if abs(ahead) < _CLOCKS_DIFFER:
        return None
    return (
        f"The clock of {host} is {abs(ahead) / 60:.0f} minutes {'ahead of' if ahead > 0 else 'behind'} the one here. "
        "Certificates and times left are told by them."
    )


def _iso(moment) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
