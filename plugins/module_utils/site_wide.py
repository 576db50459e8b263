# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One installation for all users of a site: what staff may put into it, and how a user's setup takes it.

What staff install is read by everybody and run by everybody's jobs. So nothing of the account that installs it may get in, and
what is each user's own (the batch directory and that of Jupyter's configuration) stays as it was written, ``~`` and variables
included, until it is used.
"""

import os
import re
import stat

from . import commands, files, places, schedulers
from .failure import Failure

_VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})"
_OWN_PATH = re.compile(r"\A(?:~|%s|)(?:/(?:[A-Za-z0-9._+@,=:%%-]|%s)+)+/?\Z" % (_VARIABLE, _VARIABLE))
# Option of the environment -> variable that sets it.
ENVIRONMENT = {
    "modules": "jupyter_modules", "module_paths": "jupyter_module_paths", "venv": "jupyter_venv", "conda": "jupyter_conda",
    "container": "jupyter_container", "python": "jupyter_python", "variables": "jupyter_environment", "commands": "jupyter_job_commands",
}
# Option -> its default, which asks for nothing, and the variable that sets it.
_OPTIONS = {
    "poll_interval": (0, "jupyter_poll_interval"), "second_hop": ("auto", "jupyter_second_hop"),
    "node_names": ("short", "jupyter_node_names"), "node_host_keys": ("strict", "jupyter_node_host_keys"),
    "relay_dir": ("/tmp", "jupyter_relay_dir"),
}
_NOTHING = "Nothing was changed."


def own_path(variable, path):
    """Return a path that each user has of their own (str, as it was written).

    :raises Failure: for one that would be the same for all, and for what a shell could misread.
    """
    if not _OWN_PATH.match(path) or not (path.startswith("~/") or "$" in path):
        raise Failure(
            "%s is '%s'. In an installation for all users it must be another path for each of them: one that starts with ~/ or has a variable "
            "such as $USER or $SCRATCH in it, of letters, digits and '. _ + @ , = : %% -'. %s" % (variable, path, _NOTHING), "bad-path")
    return path


def in_shell(path):
    """Return an own path as a word of the shell, which fails in words where a variable of it is not set."""
    if path.startswith("~/"):
        path = "$HOME" + path[1:]
    return '"%s"' % re.sub(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", r"${\1:?}", path)


def site_for_all(request):
    """Return the places.Site that staff are to install, once it is sure that it can be for all users.

    :param request: as for the verb ``batch``, of which ``batch_dir`` is not expanded.
    :raises Failure: with nothing changed.
    """
    if not request.get("site_dir"):
        raise Failure("jupyter_batch_scope is site, and jupyter_site_dir does not say where to install it. %s Set it to a directory that "
                      "all hosts of the cluster share, such as /opt/hpc-jupyter." % _NOTHING, "bad-path")
    site = places.Site(None, request["site_dir"])
    if site.shared is None:
        raise Failure("jupyter_site_dir %s is your own batch directory. %s Set it to a directory for all users." % (site.path, _NOTHING), "bad-path")
    own_path("jupyter_batch_dir", request.get("batch_dir") or places.DEFAULT_BATCH_DIR)
    own_path("jupyter_config_dir", (request.get("job") or {}).get("config_dir") or "~/.jupyter")
    _refuse_personal(request.get("environment") or {}, request.get("install") or {}, site.installed)
    relays = request.get("relay_dir") or "/tmp"
    if not relays.startswith("/") or "$" in relays:
        raise Failure("jupyter_relay_dir is '%s'. In an installation for all users it must be an absolute path, such as /tmp. %s"
                      % (relays, _NOTHING), "relay-dir")
    if os.path.isdir(relays) and stat.S_IMODE(os.stat(relays).st_mode) & 0o003 != 0o003:
        raise Failure("jupyter_relay_dir %s is not open to all users. %s Set it to a directory that everybody may write to, such as /tmp."
                      % (relays, _NOTHING), "relay-dir")
    places.refuse_if_others_write(site.installed)
    if os.path.lexists(site.installed) and (os.path.islink(site.installed) or os.lstat(site.installed).st_uid != os.getuid()):
        raise Failure(
            "%s is a link or belongs to somebody else (user id %d). %s Run this as its owner (ansible_become_user)."
            % (site.installed, os.lstat(site.installed).st_uid, _NOTHING), "permission")
    # Where it goes.
    parent = files.existing_parent(site.installed)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise Failure("jupyter_site_dir is %s, and you may not write to %s. %s Run this as who may (--become)."
                      % (site.installed, parent, _NOTHING), "permission")
    for_everybody(parent, "jupyter_site_dir")
    return site


def _refuse_personal(environment, install, site_dir):
    """Refuse what would be another path for each user, or that of who installs it."""
    # First what role batch also makes the virtual environment of.
    paths = [("jupyter_install_dir", install["directory"]), ("jupyter_install_python", install.get("python") or "")] if install.get("enabled") else []
    paths += [("jupyter_module_paths", path) for path in environment.get("module_paths") or ()]
    paths += [(ENVIRONMENT[key], environment[key]) for key in ("venv", "conda", "python") if environment.get(key)]
    for variable, path in paths:
        name_only = variable in ("jupyter_conda", "jupyter_python", "jupyter_install_python") and "/" not in path
        if path[:1] == "~" or "$" in path or not (name_only or path.startswith("/")):
            raise Failure("%s is '%s', and in an installation for all users a path is the same for everybody: it starts with / and has no variables. %s%s"
                          % (variable, path, _NOTHING, " Set it to %s/venv." % site_dir if variable == "jupyter_install_dir" else ""), "personal-path")
        if not name_only:
            for_everybody(path, variable)
    for word in (environment.get("container") or "").split():
        if word.startswith("~"):
            raise Failure("jupyter_container has the word '%s': in an installation for all users a path is the same for everybody. %s"
                          % (word, _NOTHING), "personal-path")


def for_everybody(path, what):
    """Refuse a path that its owner alone may reach, as what is in root's home.

    A group may well be all users of a site. What is not there on the login node may be there on a node.

    :param what: str, the variable or what it is, for the message.
    """
    for part in (path, os.path.realpath(path)):
        while part != "/":
            try:
                mode = stat.S_IMODE(os.stat(part).st_mode)
            except OSError:
                mode = 0o777
            if not mode & 0o055:
                raise Failure("%s: nobody but its owner can use %s, for %s is closed to others. %s Set another path, or open it (chmod a+rX)."
                              % (what, path, part, _NOTHING), "personal-path")
            part = os.path.dirname(part)


def use(request, site):
    """Say what a user has from the site's installation, writing nothing; see ``batch.apply`` for the answer.

    :raises Failure: when it is not there, is not safe, or can't do what is asked for.
    """
    facts = site.facts()
    if facts.get("scope") != "site":
        raise Failure("%s was not installed for all users (jupyter_batch_scope: site). %s Take jupyter_site_dir out of the inventory."
                      % (site.installed, _NOTHING), "not-set-up")
    # Before it is used, each can be read; a message now is better than one of a job.
    script = script_path(site, facts["scheduler"])
    for path in (site.program, site.keeper, site.python, script, facts["connect"]):
        if not os.access(path, os.R_OK):
            raise Failure("%s is missing, or you may not read it. %s Tell the site's staff, who install it with 'ansible-playbook "
                          "hpc.jupyter.site'." % (path, _NOTHING), "not-set-up")
    for variable, asked, there in (
            ("jupyter_batch_dir", request.get("batch_dir") or places.DEFAULT_BATCH_DIR, facts["batch_dir"]),
            ("jupyter_config_dir", (request.get("job") or {}).get("config_dir") or "~/.jupyter", facts["job"]["config_dir"])):
        if places.expand(variable, asked) != places.expand(variable, there):
            raise Failure("%s is '%s', and for the installation in %s it is '%s'. %s Set it to that, or take jupyter_site_dir out of the inventory "
                          "for an installation of your own." % (variable, asked, site.installed, there, _NOTHING), "site-differs")
    _refuse_what_differs(request, facts, site)
    return {
        "changed": False,
        "diff": [],
        "scheduler": facts["scheduler"],
        "scheduler_evidence": "as the site's staff installed it in %s" % site.installed,
        "commands": facts["commands"],
        "jupyter": facts["jupyter"],
        "script": script,
        "batch_dir": site.path,
        "site_dir": site.installed,
        "connect": facts["connect"],
    }


def _refuse_what_differs(request, facts, site):
    """Refuse what a launch could not change any more: it would only seem to be obeyed."""
    there = facts.get("environment") or {}
    names = dict(ENVIRONMENT, venv="jupyter_install") if (request.get("install") or {}).get("enabled") else ENVIRONMENT
    differs = sorted(names[key] for key, value in (request.get("environment") or {}).items() if value and value != there.get(key))
    if request.get("scheduler") not in (None, "auto", facts["scheduler"], facts["scheduler_asked"]):
        differs.append("jupyter_scheduler")
    installed = dict(facts, relay_dir=facts.get("relay_parent"))
    asked = dict(request, relay_dir=places.expand("jupyter_relay_dir", request.get("relay_dir") or "/tmp"))
    differs += [variable for key, (default, variable) in sorted(_OPTIONS.items()) if asked.get(key) not in (None, default, installed.get(key) or default)]
    if differs:
        raise Failure(
            "%s: what is set here differs from the installation in %s, and would have no effect. %s Take it out of the inventory; or "
            "take jupyter_site_dir out (or set it to '') for an installation of your own." % (", ".join(differs), site.installed, _NOTHING), "site-differs")


def script_path(site, scheduler):
    """Return where the job script is (str)."""
    return os.path.join(site.installed, "jupyter.%s" % schedulers.get(scheduler, commands.run).script_suffix)
