# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of filesystem a path is on."""
from __future__ import absolute_import, division, print_function

import io
import os

_NETWORK_FILESYSTEMS = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "afs", "panfs", "gluster", "orangefs", "pvfs", "weka", "fuse",
                        "9p", "vast", "dvs", "gfs2", "ocfs2")


def filesystem_of(path):
    """The type of the filesystem that holds a path ("nfs4", "xfs", ...), or "" where the system doesn't say."""
    path = os.path.realpath(path)
    best, kind = "", ""
    try:
        with io.open("/proc/self/mounts", "r", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                fields = line.split(" ")
                if len(fields) < 3:
                    continue
                mount = fields[1].replace("\\040", " ")
                if (path == mount or path.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
                    best, kind = mount, fields[2]
    except (IOError, OSError):
        pass
    return kind


def on_network(path):
    """Whether a path is on a filesystem that other hosts share."""
    return filesystem_of(path).startswith(_NETWORK_FILESYSTEMS)
