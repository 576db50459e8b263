# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster is made of: its names, addresses and places, all derived from its name, address range and shape."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, List, NamedTuple

STATES = "/run/hpc-jupyter-cluster"
SOFTWARE = "/opt/hpc-jupyter-cluster"
LOGIN = "login"
NODES = ("node1", "node2")
HOSTS = (LOGIN,) + NODES

# How the compute nodes may be reached (one of these) and what the login node is like (any of those).
NODE_SHAPES = ("jump-only", "open", "direct-only", "reverse-only")
LOGIN_SHAPES = ("otp", "no-forward", "login-path")


class BadRequest(Exception):
    """The command line asks for something that does not exist."""


class User(NamedTuple):
    name: str
    uid: int
    token: str  # the secret of this user's one-time password generator, in hexadecimal


USERS = (User("carol", 20001, "3132333435363738393031323334353637383930"),
         User("dave", 20002, "3039383736353433323130393837363534333231"))


class Layout:
    """The names, addresses and paths of one cluster."""

    def __init__(self, name: str, net: str, shape: str, software: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,7}", name):
            raise BadRequest("--name %r: lower-case letters and digits, at most 8 (it names network interfaces)" % name)
        if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", net) or any(int(part) > 255 for part in net.split(".")):
            raise BadRequest("--net %r: three numbers such as 10.77.0, the first part of a /24" % net)
        self.name = name
        self.net = net
        self.software = software
        self.shapes = _shapes(shape)
        self.state = os.path.join(STATES, name)

    # The two halves of the address range: outside (laptop and login) and inside (login and nodes).

    @property
    def laptop(self) -> str:
        return self.net + ".1"

    @property
    def wan(self) -> str:
        """Where the delaying relay in front of the login node's sshd listens."""
        return self.net + ".2"

    @property
    def login_outside(self) -> str:
        return self.net + ".10"

    @property
    def laptop_inside(self) -> str:
        """The laptop's own address among the nodes, in the shape `open` alone."""
        return self.net + ".129"

    def inside(self, host: str) -> str:
        return "%s.%d" % (self.net, {"login": 130, "node1": 141, "node2": 142}[host])

    def netns(self, host: str) -> str:
        return "%s-%s" % (self.name, host)

    def link(self, end: str) -> str:
        """A network interface of the machine itself: at most 15 characters."""
        return "%s-%s" % (self.name, end)

    @property
    def domain(self) -> str:
        return self.name + ".test"

    # Places.

    def path(self, *parts: str) -> str:
        return os.path.join(self.state, *parts)

    def host_path(self, host: str, *parts: str) -> str:
        return self.path("hosts", host, *parts)

    def etc(self, host: str, *parts: str) -> str:
        """A file of this host's own /etc (the upper layer of its overlay)."""
        return self.host_path(host, "etc", "upper", *parts)

    def log(self, host: str, name: str) -> str:
        """A log of this host, seen from the machine."""
        return self.host_path(host, "var", "upper", "log", name)

    def key(self, user: str) -> str:
        return self.path("keys", user)

    @property
    def home(self) -> str:
        return self.path("home")

    @property
    def ssh_config(self) -> str:
        return self.path("ssh_config")

    @property
    def inventory(self) -> str:
        return self.path("inventory", "hosts.yml")

    @property
    def overlaid(self) -> List[str]:
        """The trees of which each host has its own version."""
        return ["etc", "var"] + (["usr"] if "login-path" in self.shapes else [])

    # Kept for the verbs that come later.

    def facts(self) -> Dict[str, Any]:
        return {"name": self.name, "net": self.net, "shape": ",".join(self.shapes), "software": self.software,
                "state": self.state, "ssh_config": self.ssh_config, "inventory": self.inventory,
                "addresses": {"laptop": self.laptop, "wan": self.wan, "login": self.login_outside,
                              "inside": {host: self.inside(host) for host in HOSTS}},
                "users": {user.name: {"uid": user.uid, "key": self.key(user.name)} for user in USERS}}

    @classmethod
    def of_running(cls, name: str) -> "Layout":
        """Raises BadRequest if no cluster of that name is up."""
        try:
            with open(os.path.join(STATES, name, "cluster.json"), encoding="utf-8") as stream:
                facts = json.load(stream)
        except FileNotFoundError:
            raise BadRequest("no cluster %r is up: cluster up --name %s" % (name, name)) from None
        return cls(facts["name"], facts["net"], facts["shape"], facts["software"])


def _shapes(text: str) -> List[str]:
    asked = [part for part in text.split(",") if part]
    unknown = [part for part in asked if part not in NODE_SHAPES + LOGIN_SHAPES]
    if unknown:
        raise BadRequest("--shape %s: choose one of %s and any of %s, joined by commas"
                         % (text, ", ".join(NODE_SHAPES), ", ".join(LOGIN_SHAPES)))
    nodes = [part for part in asked if part in NODE_SHAPES]
    if len(nodes) > 1:
        raise BadRequest("--shape %s: the nodes can't be both %s" % (text, " and ".join(nodes)))
    return (nodes or [NODE_SHAPES[0]]) + [part for part in LOGIN_SHAPES if part in asked]
