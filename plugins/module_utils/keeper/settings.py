# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jupyter's settings for this one server."""
from __future__ import absolute_import, division, print_function

import binascii
import glob
import hashlib
import io
import os
import re

from .compat import native, ssl
from .private_files import read_json, write_private

# Suites that exist in TLS 1.2 and later only: with them no peer can bring a server down to an older version, on any
# Python and OpenSSL. (TLS 1.3 has its own suites, which this list does not touch.)
TLS_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL"


def user_config_dir(job):
    """Where the user's own Jupyter settings are: ``config_dir`` of the job, else what Jupyter itself would take."""
    return job.get("config_dir") or os.environ.get("JUPYTER_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".jupyter")


def application(flavour):
    """The section of the server's own settings."""
    return "NotebookApp" if flavour == "notebook" else "ServerApp"


def extra_settings(settings, flavour):
    """The settings of job.json as sections: {"ServerApp": {...}}.

    They may be nested or dotted ("ServerApp.websocket_ping_interval"), and in the words of either generation.
    """
    sections = {}
    for name, value in settings.items():
        if isinstance(value, dict) and "." not in name:
            sections.setdefault(name, {}).update(value)
        else:
            section, _dot, trait = name.rpartition(".")
            sections.setdefault(section or ("NotebookApp" if flavour == "notebook" else "ServerApp"), {})[trait] = value
    ours, theirs = ("NotebookApp", "ServerApp") if flavour == "notebook" else ("ServerApp", "NotebookApp")
    if theirs in sections:
        translated = sections.pop(theirs)
        for old, new in ((("root_dir", "notebook_dir"), ("jpserver_extensions", "nbserver_extensions")) if flavour == "notebook"
                         else (("notebook_dir", "root_dir"), ("nbserver_extensions", "jpserver_extensions"))):
            if old in translated:
                translated[new] = translated.pop(old)
        merged = dict(translated)
        merged.update(sections.get(ours, {}))
        sections[ours] = merged
    return sections


def server_settings(jupyter, endpoint, job, token, session_id, cookie_secret_file, certificate=None, users=None, shimmed=()):
    """The settings that make this server ours, as {file name: sections}.

    They stand before the user's own (see ``serve``), so each setting that could break or open the
    server is spelled out, the empty ones too: a certificate, port or socket in ~/.jupyter must not leak in.

    :param certificate: (certfile, keyfile) for an endpoint with TLS.
    :param users: tornado_settings of the user's own JSON files; ours would otherwise replace them whole.
    :param shimmed: the words of the user's jupyter_notebook_config files.
    """
    app = "NotebookApp" if jupyter.flavour == "notebook" else "ServerApp"
    sections = extra_settings(job.get("settings") or {}, jupyter.flavour)
    sections["KernelManager"] = dict({"transport": "ipc"}, **sections.get("KernelManager", {}))
    sections["NotebookNotary"] = dict({"db_file": ":memory:"}, **sections.get("NotebookNotary", {}))
    tornado = dict(users or {})
    tornado.update(sections.get(app, {}).get("tornado_settings") or {})
    tornado["headers"] = dict(tornado.get("headers") or {}, **{"X-Jupyter-Session": session_id})
    ours = {
        "token": token,
        "tornado_settings": tornado,
        "cookie_secret_file": cookie_secret_file,
        "base_url": job["base_url"],
        "open_browser": False,
        "file_to_run": "",
        "port_retries": 0,
        "client_ca": "",
        "custom_display_url": "",
        "allow_remote_access": False,
        "allow_root": os.geteuid() == 0,
        "disable_check_xsrf": False,
        "shutdown_no_activity_timeout": 0,
    }
    if job["root_dir"]:
        ours["root_dir" if app == "ServerApp" else "notebook_dir"] = job["root_dir"]
    if endpoint["kind"] == "socket":
        # The port must be the default one: any other next to a socket makes the server give up.
        ours.update({"sock": endpoint["path"], "sock_mode": "0600", "ip": "localhost", "port": 8888, "certfile": "", "keyfile": "", "ssl_options": {}})
    else:
        ours.update({"ip": endpoint["address"], "port": endpoint["port"], "certfile": certificate[0], "keyfile": certificate[1],
                     "ssl_options": {"ssl_version": int(getattr(ssl, "PROTOCOL_TLS_SERVER", ssl.PROTOCOL_SSLv23)), "ciphers": TLS_CIPHERS}})
        if jupyter.has_sockets:
            ours["sock"] = ""
    if app == "ServerApp" and jupyter.release >= (2,):
        ours.pop("token")
        ours.setdefault("identity_provider_class", "jupyter_server.auth.identity.PasswordIdentityProvider")
        for provider in ("IdentityProvider", "PasswordIdentityProvider"):
            sections[provider] = dict(sections.get(provider, {}), token=token)
    sections[app] = dict(sections.get(app, {}), **ours)
    # A jupyter_server 2 with the notebook shim passes the NotebookApp settings of an old file on, over all others.
    echoed = dict((trait, value) for trait, value in ours.items() if trait in shimmed)
    if app == "ServerApp" and echoed:
        sections["NotebookApp"] = echoed
    return {"jupyter_server_config.json": sections, "jupyter_notebook_config.json": sections}


def directories(job, flavour):
    """Where the server starts, and the root_dir that it must be told: None where the user's own settings may decide.

    One of the user's that this node does not have would keep the server from starting: then it is the home.
    """
    if job["root_dir"]:
        return job["root_dir"], job["root_dir"]
    home = os.path.expanduser("~")
    name, section, trait = (("jupyter_notebook_config.json", "NotebookApp", "notebook_dir") if flavour == "notebook"
                            else ("jupyter_server_config.json", "ServerApp", "root_dir"))
    try:
        own = (read_json(os.path.join(user_config_dir(job), name)) or {}).get(section, {}).get(trait)
    except (ValueError, IOError, OSError, AttributeError):
        own = None
    if not own:
        return home, None
    if not isinstance(own, type(u"")):
        return home, home
    own = native(own)
    return (own, None) if os.path.isabs(own) and os.path.isdir(own) else (home, home)


def users_tornado_settings(config_dir, app):
    """tornado_settings in the user's own JSON files, least important first."""
    found = {}
    for name in ("jupyter_notebook_config.json", "jupyter_server_config.json"):
        try:
            value = (read_json(os.path.join(config_dir, name)) or {}).get(app, {}).get("tornado_settings")
        except (ValueError, IOError, OSError, AttributeError):
            continue
        if isinstance(value, dict):
            found.update(value)
    return found


def shimmed_words(config_dir):
    """Every word of the settings that the user has for a classic notebook."""
    words = set()
    for path in (os.path.join(config_dir, "jupyter_notebook_config" + kind) for kind in (".py", ".json")):
        try:
            with io.open(path, "r", encoding="utf-8", errors="replace") as stream:
                words.update(re.findall(r"\w+", stream.read()))
        except (IOError, OSError):
            pass
    return words


def cookie_secret(directory, session_id, config_dir):
    """A file with the secret of the login cookies: kept over renewals of one launch, new when any Jupyter settings changed.

    Servers before 2.18 would take a cookie from before a change of the password.

    :param directory: that of the session.
    """
    digest = hashlib.sha256(session_id.encode("utf-8"))
    for path in sorted(glob.glob(os.path.join(config_dir, "jupyter_*config.*"))):
        try:
            with io.open(path, "rb") as stream:
                digest.update(stream.read())
        except (IOError, OSError):
            pass
    path, stamp = os.path.join(directory, "cookie_secret"), os.path.join(directory, "cookie_stamp")
    try:
        with io.open(stamp, "rb") as stream:
            same = stream.read() == digest.hexdigest().encode("ascii")
    except (IOError, OSError):
        same = False
    if not same or not os.path.isfile(path):
        write_private(path, binascii.b2a_base64(os.urandom(32)))
        write_private(stamp, digest.hexdigest().encode("ascii"))
    return path
