# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories of ours alone, always whole."""
from __future__ import absolute_import, division, print_function

import errno
import io
import json
import os
import stat
import tempfile
import time

from .endings import Failure

READ_AGAIN, READ_AGAIN_AFTER = 5, 0.02  # how often, and after how many seconds, a file that is damaged is read again


def write_private(path, data):
    """Write bytes so that a reader sees the old file or the new one, and nobody else sees either (0600).

    :raises OSError: home full, unwritable, gone.
    """
    directory = os.path.dirname(path)
    handle, name = tempfile.mkstemp(prefix=".%s." % os.path.basename(path), dir=directory)
    try:
        try:
            view = memoryview(data)
            while len(view):
                view = view[os.write(handle, view):]
        finally:
            os.close(handle)
        os.rename(name, path)
    except BaseException:
        try:
            os.unlink(name)
        except OSError:
            pass
        raise


def write_json(path, value):
    """``write_private`` of a JSON document."""
    text = json.dumps(value, indent=1, sort_keys=True)
    write_private(path, text.encode("utf-8") + b"\n")


def remove(path):
    """Remove a file, if it is there.

    :raises OSError: it can't be removed.
    """
    try:
        os.unlink(path)
    except (IOError, OSError) as error:
        if error.errno != errno.ENOENT:
            raise


def read_json(path):
    """The JSON object of a file, or None where there is no such file.

    One that another host has just replaced can be read as long as the one before was, so what is damaged is read again.

    :raises ValueError: the file is no JSON object.
    """
    for attempt in range(READ_AGAIN):
        try:
            with io.open(path, "r", encoding="utf-8") as stream:
                value = json.load(stream)
            break
        except (IOError, OSError) as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        except ValueError:
            if attempt == READ_AGAIN - 1:
                raise
            time.sleep(READ_AGAIN_AFTER)
    if not isinstance(value, dict):
        raise ValueError("%s holds no JSON object" % path)
    return value


def refresh(directory):
    """Have the names in a directory looked up anew.

    An NFS client trusts for up to half a minute what it knows of names, the missing ones too, unless the directory is opened.
    """
    try:
        os.listdir(directory)
    except OSError:
        pass  # it is not there, and neither are its files


def private_directory(path):
    """Make a directory 0700 (parents included), or take the mode of an existing one down to it.

    :raises Failure: the path is a symbolic link, no directory, or somebody else's.
    """
    try:
        os.makedirs(path, 0o700)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Failure("config-error", "%s is not a directory of yours. Move it away and launch again." % path)
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, 0o700)
