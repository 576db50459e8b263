# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the cluster."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Dict, List

from . import faults, hosts, lifecycle, network, otp, software, wan
from .layout import HOSTS, LOGIN_SHAPES, NODE_SHAPES, NODES, SOFTWARE, USERS, BadRequest, Layout


def main(argv: List[str]) -> int:
    # What comes after `--` is the command to run inside a host, with options of its own.
    end = argv.index("--") if "--" in argv else len(argv)
    arguments = _parser().parse_args(argv[:end])
    arguments.command = argv[end + 1:]
    if os.geteuid() != 0:
        print("cluster: must be root: it makes namespaces and mounts", file=sys.stderr)
        return 1
    try:
        return arguments.function(arguments) or 0
    except (BadRequest, hosts.Trouble, software.NotBuilt, RuntimeError) as why:
        print("cluster: %s" % why, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as why:
        print("cluster: %s: rc %d" % (" ".join(why.cmd), why.returncode), file=sys.stderr)
        return 1


def _up(arguments: argparse.Namespace) -> None:
    layout = Layout(arguments.name, arguments.net, arguments.shape, arguments.software)
    started = time.monotonic()
    made = lifecycle.up(layout, lambda line: print(line, flush=True), fresh=arguments.fresh)
    state = "is up after %.1f s" % (time.monotonic() - started) if made else "was up already"
    lines = ["cluster %s (%s) %s" % (layout.name, ",".join(layout.shapes), state),
             "  log in:     ssh -F %s login        (also: %s)" % (
                 layout.ssh_config, ", ".join(list(NODES) + ["login-dave", "login-wan"])),
             "  inventory:  %s" % layout.inventory]
    if "otp" in layout.shapes:
        lines += ["  a code:     %s --name %s otp carol" % (os.path.abspath(sys.argv[0]), layout.name),
                  "  by itself:  SSH_ASKPASS=%s SSH_ASKPASS_REQUIRE=force ssh ..." % layout.path("askpass")]
    print("\n".join(lines))


def _down(arguments: argparse.Namespace) -> None:
    lifecycle.down(Layout(arguments.name, "0.0.0", "", SOFTWARE))


def _status(arguments: argparse.Namespace) -> None:
    layout = Layout.of_running(arguments.name)
    facts = layout.facts()
    facts["hosts"] = {host: {"pid": pid, "plugged": network.plugged(layout, host)}
                      for host, pid in hosts.running(layout).items()}
    facts["wan"] = bool(wan.relays(layout))
    print(json.dumps(facts, indent=2))


def _ssh_config(arguments: argparse.Namespace) -> None:
    print(Layout.of_running(arguments.name).ssh_config)


def _exec(arguments: argparse.Namespace) -> int:
    layout = Layout.of_running(arguments.name)
    return hosts.execute(layout, arguments.host, arguments.command or ["bash", "-l"]).returncode


def _run_as(arguments: argparse.Namespace) -> int:
    layout = Layout.of_running(arguments.name)
    return hosts.execute(layout, arguments.host, arguments.command or ["bash", "-l"], user=arguments.user).returncode


def _host(arguments: argparse.Namespace) -> None:
    with lifecycle.alone():
        faults.host(Layout.of_running(arguments.name), arguments.verb, arguments.what)


def _scheduler(arguments: argparse.Namespace) -> None:
    faults.scheduler(Layout.of_running(arguments.name), arguments.what)


def _home(arguments: argparse.Namespace) -> None:
    faults.home(Layout.of_running(arguments.name), arguments.what)


def _wan(arguments: argparse.Namespace) -> None:
    layout = Layout.of_running(arguments.name)
    if arguments.round_trip == "off":
        wan.stop(layout)
        return
    wan.start(layout, int(arguments.round_trip))
    print("ssh -F %s login-wan     (%s port %d)" % (layout.ssh_config, layout.wan, wan.PORT))


def _sshd_log(arguments: argparse.Namespace) -> None:
    layout = Layout.of_running(arguments.name)
    if arguments.count:
        print(faults.authentications(layout, arguments.host))
    else:
        print("\n".join(faults.sshd_log(layout, arguments.host)))


def _otp(arguments: argparse.Namespace) -> None:
    print(otp.next_code(Layout.of_running(arguments.name), arguments.user))


def _round_trip(text: str) -> str:
    if text != "off" and not text.isdigit():
        raise argparse.ArgumentTypeError("a round trip in milliseconds, or off")
    return text


def _parser() -> argparse.ArgumentParser:
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=argparse.SUPPRESS, help="which cluster (default: hpc)")
    parser = argparse.ArgumentParser(prog="cluster", description=__doc__)
    parser.add_argument("--name", default="hpc", help="which cluster (default: hpc)")
    verbs: Dict[str, argparse.ArgumentParser] = {}
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, function: object, text: str) -> argparse.ArgumentParser:
        verbs[name] = subparsers.add_parser(name, parents=[named], help=text, description=text)
        verbs[name].set_defaults(function=function)
        return verbs[name]

    added = verb("up", _up, "bring a cluster up; one that is up already, with this shape, stays")
    added.add_argument("--fresh", action="store_true", help="replace it even so")
    added.add_argument("--net", default="10.77.0", help="first three numbers of its /24 (default: 10.77.0)")
    added.add_argument("--shape", default=NODE_SHAPES[0],
                       help="one of %s and any of %s, joined by commas (default: %s)"
                       % (", ".join(NODE_SHAPES), ", ".join(LOGIN_SHAPES), NODE_SHAPES[0]))
    added.add_argument("--software", default=SOFTWARE, help="where modules' software is kept (default: %s)" % SOFTWARE)
    verb("down", _down, "take it down; nothing stays but the modules' software")
    verb("status", _status, "everything about it, as JSON")
    verb("ssh-config", _ssh_config, "the path of its ssh_config")
    added = verb("exec", _exec, "run a command (or a shell) as root in a host: cluster exec HOST -- CMD")
    added.add_argument("host", choices=HOSTS)
    added = verb("run-as", _run_as, "run a command (or a shell) as a user in a host: cluster run-as USER HOST -- CMD")
    added.add_argument("user", choices=[user.name for user in USERS])
    added.add_argument("host", choices=HOSTS)
    for host in HOSTS:
        choices = ["off", "on", "reboot", "unplug", "plug"] + (["drain", "resume"] if host in NODES else [])
        verb(host, _host, "power, cable%s of %s" % (", scheduling" if host in NODES else "", host)).add_argument(
            "what", choices=choices)
    verb("scheduler", _scheduler, "stop or start the scheduler's controller").add_argument(
        "what", choices=["stop", "start"])
    verb("home", _home, "fill the shared home, or give it room").add_argument("what", choices=["full", "free"])
    verb("wan", _wan, "delay the way to login-wan by MS milliseconds a round trip, or off").add_argument(
        "round_trip", type=_round_trip, metavar="MS|off")
    added = verb("sshd-log", _sshd_log, "the log of a host's sshd")
    added.add_argument("host", choices=HOSTS)
    added.add_argument("--count", action="store_true", help="only how many logins it accepted")
    verb("otp", _otp, "a user's next one-time password (shape otp)").add_argument("user")
    return parser
