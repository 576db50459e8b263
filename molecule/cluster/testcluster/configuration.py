# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that make a host itself: users, ssh, Slurm, modules; and what the laptop needs to log in."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from typing import Dict, List

from . import software
from .layout import HOSTS, LOGIN, NODES, USERS, Layout, User

SLURM_COMMANDS = ("sacct sacctmgr salloc sattach sbatch sbcast scancel scontrol sdiag sinfo sprio squeue sreport srun "
                  "sshare sstat strigger generate_pbs_nodefile pbsnodes qalter qdel qhold qrerun qrls qstat qsub").split()
CLUSTER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cluster")
# Where the commands are in the shape `login-path`.
SITE_BIN = "usr/local/slurm/bin"


def write(layout: Layout) -> None:
    """Write everything a fresh cluster needs below its state directory."""
    os.makedirs(layout.path("keys"), mode=0o700)
    for user in USERS:
        _keygen(layout.key(user.name), "%s@laptop" % user.name)
    for host in HOSTS:
        _write_host(layout, host)
    known = _known_hosts(layout)
    for host in HOSTS:
        _write(layout.etc(host, "ssh", "ssh_known_hosts"), known)
    for user in USERS:
        _write_home(layout, user)
    _write(layout.path("known_hosts"), known)
    if "otp" in layout.shapes:
        # What SSH_ASKPASS runs in place of a person: each prompt uses up one code.
        _write(layout.path("askpass"), "#!/bin/sh\nexec %s --name %s otp \"${OTP_USER:-%s}\"\n"
               % (shlex.quote(CLUSTER), layout.name, USERS[0].name), 0o700)
    _write(layout.ssh_config, _ssh_config(layout))
    _write(layout.inventory, _inventory(layout))
    _write(layout.path("cluster.json"), json.dumps(layout.facts(), indent=2) + "\n")


def _write_host(layout: Layout, host: str) -> None:
    _write(layout.etc(host, "hostname"), host + "\n")
    _write(layout.etc(host, "hosts"), "127.0.0.1 localhost\n::1 localhost\n" + "".join(
        "%s %s.%s %s\n" % (layout.inside(other), other, layout.domain, other) for other in HOSTS))
    # No name server: a name outside /etc/hosts fails at once instead of after a time-out.
    _write(layout.etc(host, "resolv.conf"), "")
    _write(layout.etc(host, "nsswitch.conf"),
           "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n")
    _write_accounts(layout, host)
    _write_sshd(layout, host)
    _write_slurm(layout, host)
    _write(layout.etc(host, "environment-modules", "modulespath"), software.modulefiles(layout.software) + "\n")
    if "login-path" in layout.shapes:
        _hide_slurm_commands(layout, host)


def _write_accounts(layout: Layout, host: str) -> None:
    with open("/etc/passwd", encoding="utf-8") as stream:
        passwd = stream.read()
    with open("/etc/group", encoding="utf-8") as stream:
        group = stream.read()
    with open("/etc/shadow", encoding="utf-8") as stream:
        shadow = "".join(line.split(":")[0] + ":*:19000:0:99999:7:::\n" for line in stream)
    for user in USERS:
        passwd += "%s:x:%d:%d:%s:/home/%s:/bin/bash\n" % (user.name, user.uid, user.uid, user.name.title(), user.name)
        group += "%s:x:%d:\n" % (user.name, user.uid)
        # `*` is no password, and unlike `!` no locked account either: keys work.
        shadow += "%s:*:19000:0:99999:7:::\n" % user.name
    _write(layout.etc(host, "passwd"), passwd)
    _write(layout.etc(host, "group"), group)
    _write(layout.etc(host, "shadow"), shadow, 0o640)


def _write_sshd(layout: Layout, host: str) -> None:
    key = layout.etc(host, "ssh", "ssh_host_ed25519_key")
    os.makedirs(os.path.dirname(key), exist_ok=True)
    _keygen(key, host)
    lines = ["HostKey /etc/ssh/ssh_host_ed25519_key", "PermitRootLogin no", "PasswordAuthentication no",
             "UseDNS no", "PrintMotd no", "LogLevel VERBOSE", "AcceptEnv LANG LC_*", "StrictModes yes",
             "MaxStartups 100", "Subsystem sftp internal-sftp"]
    if host == LOGIN and "no-forward" in layout.shapes:
        lines += ["AllowTcpForwarding no", "AllowStreamLocalForwarding no", "PermitTunnel no", "GatewayPorts no"]
    if host == LOGIN and "otp" in layout.shapes:
        lines += ["UsePAM yes", "KbdInteractiveAuthentication yes", "MaxSessions 1",
                  "AuthenticationMethods keyboard-interactive",
                  # The nodes come with the user's key: jobs have nobody to type a code.
                  "Match Address %s" % ",".join(layout.inside(node) for node in NODES),
                  "    AuthenticationMethods publickey"]
        _write(layout.etc(host, "pam.d", "sshd"),
               "auth required pam_oath.so usersfile=/etc/users.oath window=20 digits=6\n"
               "account required pam_permit.so\nsession required pam_permit.so\n")
        _write(layout.etc(host, "users.oath"),
               "".join("HOTP %s - %s\n" % (user.name, user.token) for user in USERS), 0o600)
    else:
        lines += ["UsePAM no", "KbdInteractiveAuthentication no"]
    _write(layout.etc(host, "ssh", "sshd_config"), "\n".join(lines) + "\n")


def _write_slurm(layout: Layout, host: str) -> None:
    munge_key = layout.path("munge.key")
    if not os.path.exists(munge_key):
        with open(os.open(munge_key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as stream:
            stream.write(os.urandom(1024))
    os.makedirs(layout.etc(host, "munge"), mode=0o700)
    shutil.copy(munge_key, layout.etc(host, "munge", "munge.key"))
    _write(layout.etc(host, "slurm", "slurm.conf"), """\
ClusterName=%(name)s
SlurmctldHost=login
SlurmUser=slurm
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog=/etc/slurm/task_prolog
JobSubmitPlugins=pbs
MpiDefault=pmix
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SrunPortRange=60001-63000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=200
EnforcePartLimits=ALL
ReturnToService=2
SlurmdTimeout=20
KillWait=5
MessageTimeout=10
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
GresTypes=gpu
NodeName=node[1-2] CPUs=4 RealMemory=4000 Gres=gpu:1 State=UNKNOWN
PartitionName=batch Nodes=node[1-2] Default=YES MaxTime=24:00:00 DefaultTime=01:00:00 State=UP
PartitionName=short Nodes=node[1-2] MaxTime=00:10:00 DefaultTime=00:05:00 State=UP
""" % {"name": layout.name})
    # A GPU a node to ask for. Slurm wants a device file behind it: any does.
    _write(layout.etc(host, "slurm", "gres.conf"), "Name=gpu File=/dev/null\n")
    _write(layout.etc(host, "slurm", "plugstack.conf"), "optional spank_pbs.so\n")
    _write(layout.etc(host, "slurm", "task_prolog"), """\
#!/bin/sh
PATH=$PATH:/%s
echo "export PBS_NODEFILE=$(generate_pbs_nodefile)"
""" % SITE_BIN, 0o755)


def _hide_slurm_commands(layout: Layout, host: str) -> None:
    """Take the scheduler's commands from the default PATH; /etc/profile.d alone gives them back."""
    upper = layout.host_path(host, "usr", "upper")
    site = os.path.join(layout.host_path(host, "usr", "upper"), os.path.relpath(SITE_BIN, "usr"))
    os.makedirs(site)
    os.makedirs(os.path.join(upper, "bin"))
    for command in SLURM_COMMANDS:
        if os.path.exists("/usr/bin/" + command):
            shutil.copy2("/usr/bin/" + command, os.path.join(site, command))
            # A whiteout of overlayfs: the name is gone.
            os.mknod(os.path.join(upper, "bin", command), 0o020000, os.makedev(0, 0))
    _write(layout.etc(host, "profile.d", "slurm.sh"), "PATH=/%s:$PATH\n" % SITE_BIN)


def _write_home(layout: Layout, user: User) -> None:
    home = os.path.join(layout.home, user.name)
    shutil.copytree("/etc/skel", home)
    os.makedirs(os.path.join(home, ".ssh"), mode=0o700)
    inner = os.path.join(home, ".ssh", "id_ed25519")
    _keygen(inner, "%s@%s" % (user.name, layout.name))
    with open(os.path.join(home, ".ssh", "authorized_keys"), "w", encoding="utf-8") as stream:
        for key in (inner, layout.key(user.name)):
            stream.write(_read(key + ".pub"))
    for directory, _directories, files in os.walk(home):
        for path in [directory] + [os.path.join(directory, name) for name in files]:
            os.chown(path, user.uid, user.uid)
    os.chmod(home, 0o711)


def _known_hosts(layout: Layout) -> str:
    lines = []
    for host in HOSTS:
        names = [host, "%s.%s" % (host, layout.domain), layout.inside(host)]
        if host == LOGIN:
            names += [layout.login_outside, layout.wan]
        lines.append("%s %s" % (",".join(names), _read(layout.etc(host, "ssh", "ssh_host_ed25519_key.pub"))))
    return "".join(lines)


def _ssh_config(layout: Layout) -> str:
    """Aliases: login, node1, node2; the same with `-dave`; `login-wan` and `node1-wan` over the delaying relay."""
    blocks: List[str] = ["# The test cluster %s, shape %s: ssh -F %s login"
                         % (layout.name, ",".join(layout.shapes), layout.ssh_config)]
    for user in USERS:
        suffix = "" if user is USERS[0] else "-" + user.name
        for way, login_address in (("", layout.login_outside), ("-wan", layout.wan)):
            login = LOGIN + way + suffix
            # Ansible connects to the address: the bare one is the first user's.
            names = [login] + ([login_address] if not suffix else [])
            blocks.append(_block(layout, user, names, login_address, LOGIN))
            for node in NODES:
                block = _block(layout, user, [node + way + suffix], layout.inside(node), node)
                if way or "open" not in layout.shapes:
                    block += "    ProxyJump %s\n" % login
                blocks.append(block)
    return "\n".join(blocks)


def _block(layout: Layout, user: User, names: List[str], address: str, host: str) -> str:
    options: Dict[str, str] = {"HostName": address, "User": user.name, "HostKeyAlias": host,
                               "UserKnownHostsFile": layout.path("known_hosts"), "GlobalKnownHostsFile": "/dev/null",
                               "StrictHostKeyChecking": "yes", "IdentitiesOnly": "yes", "ForwardAgent": "no",
                               "IdentityFile": layout.key(user.name)}
    return "Host %s\n" % " ".join(names) + "".join("    %s %s\n" % option for option in options.items())


def _inventory(layout: Layout) -> str:
    return """\
---
# The test cluster %(name)s, shape %(shape)s
cluster:
  hosts:
    login:
      ansible_host: %(address)s
      ansible_user: carol
      ansible_ssh_private_key_file: %(key)s
      ansible_ssh_common_args: -F %(ssh_config)s
""" % {"name": layout.name, "shape": ",".join(layout.shapes), "address": layout.login_outside,
       "key": layout.key("carol"), "ssh_config": layout.ssh_config}


def _keygen(path: str, comment: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def _write(path: str, text: str, mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(path, mode)
