# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's network: the laptop's cable to the login node, and the inner network of login and nodes.

The inner network is a bridge on which the machine itself has no address: the nodes are reached through the login
node alone, unless the shape is `open`.
"""

from __future__ import annotations

import glob
import os
import subprocess
from typing import List

from .layout import HOSTS, LOGIN, NODES, Layout


def build(layout: Layout) -> None:
    commands = ["link add %s type bridge" % layout.link("inner"),
                "link set %s up" % layout.link("inner")]
    for host in HOSTS:
        commands += ["netns add %s" % layout.netns(host),
                     "-n %s link set lo up" % layout.netns(host)]
        # A veth of the machine, plugged into the bridge: pulling it is `unplug`.
        commands += ["link add %s type veth peer name eth%d netns %s"
                     % (layout.link(host), host == LOGIN, layout.netns(host)),
                     "link set %s master %s" % (layout.link(host), layout.link("inner")),
                     "-n %s address add %s/25 dev eth%d" % (layout.netns(host), layout.inside(host), host == LOGIN),
                     "-n %s link set eth%d up" % (layout.netns(host), host == LOGIN)]
    commands += ["link add %s type veth peer name eth0 netns %s" % (layout.link("laptop"), layout.netns(LOGIN)),
                 "address add %s/26 dev %s" % (layout.laptop, layout.link("laptop")),
                 "address add %s/26 dev %s" % (layout.wan, layout.link("laptop")),
                 "link set %s up" % layout.link("laptop"),
                 "-n %s address add %s/26 dev eth0" % (layout.netns(LOGIN), layout.login_outside),
                 "-n %s link set eth0 up" % layout.netns(LOGIN)]
    if "open" in layout.shapes:
        commands += ["address add %s/25 dev %s" % (layout.laptop_inside, layout.link("inner"))]
    else:
        # The login node says "unreachable" at once; the machine's default route would carry a try to reach a node
        # out into the world. Forwarding is on for that answer alone: what comes from outside is never routed.
        commands += ["route add %s.128/25 via %s" % (layout.net, layout.login_outside),
                     "-n %s rule add iif eth0 unreachable" % layout.netns(LOGIN),
                     "netns exec %s sysctl -qw net.ipv4.conf.eth0.forwarding=1 net.ipv4.icmp_ratelimit=0"
                     % layout.netns(LOGIN)]
    for command in commands:
        _ip(command)
    for host in NODES:
        rules = _firewall(layout)
        if rules:
            subprocess.run(["ip", "netns", "exec", layout.netns(host), "nft", "-f", "-"], input=rules, text=True,
                           check=True)


def _firewall(layout: Layout) -> str:
    """What a compute node refuses to take in; the nodes among themselves are free (MPI, ipyparallel)."""
    if "direct-only" in layout.shapes:
        refused = "ip saddr %s tcp dport 22" % layout.inside(LOGIN)
    elif "reverse-only" in layout.shapes:
        # The scheduler's daemon must still hear from its controller.
        refused = "ip saddr %s tcp dport != 6818 tcp flags & (syn | ack) == syn" % layout.inside(LOGIN)
    else:
        return ""
    return ("table inet site { chain input { type filter hook input priority 0; policy accept; "
            "%s reject with tcp reset\n}\n}\n" % refused)


def plug(layout: Layout, host: str, plugged: bool) -> None:
    """Connect or cut every cable of a host."""
    for link in [layout.link(host)] + ([layout.link("laptop")] if host == LOGIN else []):
        _ip("link set %s %s" % (link, "up" if plugged else "down"))


def plugged(layout: Layout, host: str) -> bool:
    with open("/sys/class/net/%s/operstate" % layout.link(host), encoding="ascii") as stream:
        return stream.read().strip() == "up"


def remove(layout: Layout) -> None:
    """Remove whatever of this cluster's network is there."""
    for host in HOSTS:
        if os.path.exists("/run/netns/" + layout.netns(host)):
            _ip("netns delete " + layout.netns(host))
    # The machine's ends go with their namespaces, but only once the last process has left those.
    for link in remaining_links(layout):
        subprocess.run(["ip", "link", "delete", link], stderr=subprocess.DEVNULL, check=False)


def remaining_links(layout: Layout) -> List[str]:
    return [os.path.basename(path) for path in glob.glob("/sys/class/net/%s-*" % layout.name)
            if os.path.basename(path)[len(layout.name) + 1:] in HOSTS + ("inner", "laptop")]


def _ip(command: str) -> None:
    subprocess.run(["ip"] + command.split(), check=True)
