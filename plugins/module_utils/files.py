# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that survive a crash and keep their secrets, and text that is safe to show."""

import errno
import json
import os
import re
import stat
import tempfile
import time

PRIVATE_FILE = 0o600
PUBLIC_FILE = 0o644
PRIVATE_DIR = 0o700
PUBLIC_DIR = 0o755
# How often, and after how many seconds, a file that is damaged is read again.
READ_AGAIN, READ_AGAIN_AFTER = 5, 0.02

# Escape sequences first, so that "\x1b[31m" leaves nothing behind; then every control
# character but newline and tab, the bidirectional overrides, and lone surrogates.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(u"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text, limit=4000):
    """Return text from a cluster as something harmless to print.

    :param text: str, bytes or None; bytes are read as UTF-8.
    :param limit: int, characters kept; the rest is cut with an ellipsis.
    :returns: str without terminal escapes and control characters.
    """
    if text is None:
        return ""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    text = _CONTROLS.sub("?", _ESCAPES.sub("", str(text).replace("\r\n", "\n")))
    return text if len(text) <= limit else text[: limit - 1] + u"\u2026"


def difference(path, before, after):
    """Return how a file changes, in the form in which Ansible shows it (dict).

    :param before: str, bytes, or None where there was none; as ``after``.
    """
    return {"before_header": path, "after_header": path, "before": printable(before, 100000), "after": printable(after, 100000)}


def expand(path, home=None):
    """Expand a leading ``~`` with the user's home and return an absolute path.

    :raises ValueError: for ``~other`` and for an empty path, which no setting of ours means.
    """
    if not path:
        raise ValueError("an empty path")
    home = home or os.path.expanduser("~")
    if path == "~" or path.startswith("~/"):
        path = home + path[1:]
    elif path.startswith("~"):
        raise ValueError("%s: only ~ and ~/... are expanded" % path)
    return os.path.normpath(os.path.join(home, path))


def existing_parent(path):
    """Return the path itself or the first of its parents that is a directory (str)."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def make_dirs(path, mode):
    """Create a directory and its parents, each new one with this mode (int); what is there stays as it is.

    :raises OSError: if it can't be made.
    """
    old = os.umask(0o777 & ~mode)
    try:
        os.makedirs(path, exist_ok=True)
    finally:
        os.umask(old)


def make_private_dir(path):
    """Create a directory 0700 (parents too) and make sure that it is the user's own.

    :raises OSError: if it can't be made, is a symbolic link, or belongs to someone else.
    """
    make_dirs(path, PRIVATE_DIR)
    check_own(path)
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        os.chmod(path, PRIVATE_DIR)


def make_public_dir(path):
    """Create a directory 0755 (parents too), or make sure that all may look into it.

    :raises OSError: if it can't be made, is a symbolic link, or belongs to someone else.
    """
    make_dirs(path, PUBLIC_DIR)
    check_own(path)
    if stat.S_IMODE(os.stat(path).st_mode) != PUBLIC_DIR:
        os.chmod(path, PUBLIC_DIR)


def check_own(path):
    """Refuse a path that is a symbolic link or belongs to another user.

    :raises OSError: EPERM with the path and its owner.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.EPERM, "is a symbolic link", path)
    if status.st_uid != os.getuid():
        raise OSError(errno.EPERM, "belongs to user id %d" % status.st_uid, path)


def write_atomically(path, data, mode=PRIVATE_FILE, backup=False):
    """Replace a file so that readers see the old or the new content, never a part.

    A symbolic link stays one: what it points to is replaced. An existing file keeps those of
    its permission bits that ``mode`` allows, so a tighter mode of the user's is never loosened.

    :param path: str.
    :param data: str (written as UTF-8) or bytes.
    :param mode: int, the widest permissions that the file may have.
    :param backup: bool, keep what was there as ``PATH.TIMESTAMP~`` (0600).
    :returns: str or None, the backup's path.
    :raises OSError: with nothing changed (no space, no permission, read-only).
    """
    if not isinstance(data, bytes):
        data = data.encode("utf-8")
    target = os.path.realpath(path)
    kept = None
    try:
        mode &= stat.S_IMODE(os.stat(target).st_mode) | 0o600
        exists = True
    except OSError:
        exists = False
    handle, temporary = _temporary_beside(target, path)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            # Quotas and full disks are reported at fsync on NFS, not at write.
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        if backup and exists:
            kept = _keep(target)
        os.rename(temporary, target)
    except BaseException as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        # A full disk shows at write or fsync, which name no file.
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename = path
        raise
    return kept


def _temporary_beside(target, path):
    """Open a file in the directory of ``target``; an error names ``path``, which is what somebody asked for."""
    try:
        return tempfile.mkstemp(prefix=".hpc.jupyter-", dir=os.path.dirname(target))
    except OSError as error:
        error.filename = path
        raise


def _keep(path):
    with open(path, "rb") as stream:
        data = stream.read()
    for number in range(100):
        name = "%s.%s%s~" % (path, time.strftime("%Y%m%d-%H%M%S"), "-%d" % number if number else "")
        try:
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        except OSError as error:
            if error.errno == errno.EEXIST:
                continue
            raise
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        return name
    raise OSError(errno.EEXIST, "a hundred backups in one second", path)


def create_exclusively(path, data):
    """Create a file that must not exist yet, with its content complete at once.

    ``link`` is atomic on NFS even where O_EXCL was not, and shows no reader an empty file.

    :returns: bool, False when somebody else was first.
    :raises OSError: for anything but that.
    """
    handle, temporary = _temporary_beside(path, path)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
            return True
        except OSError as error:
            if error.errno == errno.EEXIST:
                return False
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
        # A file system without hard links: O_EXCL is what is left.
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        except OSError as error:
            if error.errno == errno.EEXIST:
                return False
            raise
        with os.fdopen(handle, "wb") as stream:
            stream.write(data.encode("utf-8"))
        return True
    except OSError as error:
        error.filename = error.filename or path
        raise
    finally:
        os.unlink(temporary)


def read_text(path, default=None):
    """Return a file's text, or ``default`` when there is none.

    :raises OSError: when it is there and can't be read.
    """
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "backslashreplace")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
            return default
        raise


def read_json(path, default=None):
    """Return what a JSON file of ours holds, or ``default`` when it is missing or damaged.

    Ours are written atomically. One that another host has just replaced can be read as long as the one before was, so it is
    read again; what stays damaged comes from a full disk or a crash of the file system, and is treated as missing rather
    than as a reason to stop.
    """
    for attempt in range(READ_AGAIN):
        if attempt:
            time.sleep(READ_AGAIN_AFTER)
        text = read_text(path)
        if text is None:
            return default
        try:
            return json.loads(text)
        except ValueError:
            continue
    return default


def write_json(path, value, mode=PRIVATE_FILE):
    """Write a JSON file atomically, with stable order and a newline at its end."""
    write_atomically(path, json.dumps(value, indent=2, sort_keys=True) + "\n", mode=mode)


def age(path):
    """Return the seconds since a file was last written or touched, by the clock of its own file system.

    :returns: float, or None when the file is gone.
    :raises OSError: if its directory can't be written.
    """
    handle, probe = tempfile.mkstemp(prefix=".hpc.jupyter-", dir=os.path.dirname(path))
    try:
        os.close(handle)
        os.utime(probe, None)
        return os.stat(probe).st_mtime - os.stat(path).st_mtime
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise
    finally:
        os.unlink(probe)


class SharedDirectory(object):
    """A directory to which other hosts write.

    An NFS client trusts for up to half a minute what it knows of names, the missing ones too, unless the directory is opened.

    :param path: str.
    :ivar interval: float, seconds: within it, names are as they were seen.
    """

    INTERVAL = 0.5
    # Where somebody waits for what is to appear any moment.
    SOON = 0.1

    def __init__(self, path):
        self.path = path
        self.interval = self.INTERVAL
        self._listed = None

    def refresh(self):
        """Have the names looked up anew, if that was not done just now."""
        now = time.time()
        if self._listed is None or not 0 <= now - self._listed < self.interval:
            self._listed = now
            try:
                os.listdir(self.path)
            except OSError:
                pass  # it is not there (yet), and neither are its files


def sweep(directory, oldest):
    """Remove what writers that were killed left in a directory of ours.

    :param oldest: float, seconds: younger ones may belong to a living writer.
    """
    for name in os.listdir(directory):
        if name.startswith(".") or name.startswith("lock."):
            path = os.path.join(directory, name)
            since = age(path)
            if since is not None and since > oldest:
                remove(path)


def is_full(error):
    """Tell whether an OSError means that no room is left, on the disk or in the user's quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def empty(path):
    """Leave nothing in a file, if it is there."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
            raise


def remove(path):
    """Remove a file; return whether it was there."""
    try:
        os.unlink(path)
        return True
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise


def stamp(path):
    """Return something that changes when a file is replaced or written, None while there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime, status.st_size, status.st_ino
