# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the server listens on its node."""
from __future__ import absolute_import, division, print_function

import os
import random
import socket

from . import certificate
from .endings import Failure
from .text import printable


def node_address():
    """An address of this node that other hosts of the cluster reach.

    :raises Failure: it has none but the loopback.
    """
    found = []
    for name in (socket.getfqdn(), socket.gethostname()):
        try:
            found.extend(entry[4][0] for entry in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM))
        except (socket.error, UnicodeError):
            pass
    for variable in ("SLURM_SUBMIT_HOST", "PBS_O_HOST", "SLURM_LAUNCH_NODE_IPADDR"):
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:  # connecting a datagram socket sends nothing, but the kernel picks the address that it would send from
            probe.connect((os.environ.get(variable) or "", 9))
            found.append(probe.getsockname()[0])
        except (socket.error, UnicodeError):
            pass
        finally:
            probe.close()
    for address in found:
        if address.startswith("127.") or address == "0.0.0.0":
            continue
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            probe.bind((address, 0))
        except socket.error:
            continue
        finally:
            probe.close()
        return address
    raise Failure("socket", "This node (%s) has no address that other hosts reach, so the route \"direct\" is not possible here. Set "
                            "jupyter_route to jump or relay." % socket.gethostname())


def free_port(address, port_range=None):
    """A TCP port that was free a moment ago.

    :param port_range: [first, last] where a firewall lets only those through.
    :raises Failure: all of the range are taken.
    """
    if port_range:
        ports = list(range(int(port_range[0]), int(port_range[1]) + 1))
        random.shuffle(ports)
    else:
        ports = [0]
    for port in ports:
        probe = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return probe.getsockname()[1]
        except socket.error:
            continue
        finally:
            probe.close()
    raise Failure("port-taken", "Every port that may be used on %s is taken (%s)." % (address, port_range))


def choose(job, jupyter, node_dir):
    """Where the server is to listen on this node.

    :param job: dict of job.json.
    :param node_dir: the job's directory on the node's disk.
    :returns: (endpoint, (certfile, keyfile) or None)
    :raises Failure: the endpoint that was asked for can't be had.
    """
    wanted = job["endpoint"]
    if wanted == "auto":
        wanted = "socket" if jupyter.has_sockets and job["listen"] == "loopback" else "tls"
    if wanted == "socket":
        if not jupyter.has_sockets:
            raise Failure("socket", "%s %s can't listen on a unix socket. Set jupyter_endpoint: auto or tls." % (jupyter.flavour, jupyter.version))
        return {"kind": "socket", "path": os.path.join(node_dir, "s")}, None
    if wanted != "tls":
        raise Failure("bad-option", "jupyter_endpoint must be auto, socket or tls, not \"%s\"." % printable(str(wanted)))
    certfile, keyfile, fingerprint = certificate.take(job["certfile"], job["keyfile"], node_dir)
    listen = job["listen"]
    address = {"loopback": "127.0.0.1", "node": None}.get(listen, listen) or node_address()
    place = {"kind": "tls", "address": address, "port": free_port(address, job["port_range"]), "fingerprint": fingerprint}
    return place, (certfile, keyfile)
