# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What went wrong, in words for the person who typed the command."""

import errno

from .files import printable


class Failure(Exception):
    """An expected failure: what happened, what was left in which state, what to type next.

    :param message: str, whole sentences.
    :param cause: str, a short stable word for programs ("scheduler-down", "no-password", ...).
    :param details: further keys of the answer.
    """

    def __init__(self, message, cause, **details):
        super(Failure, self).__init__(message)
        self.message = printable(message)
        self.cause = cause
        self.details = details

    def as_result(self):
        """Return the failure as an answer of the program."""
        return dict(self.details, failed=True, msg=self.message, cause=self.cause)


_ADVICE = {
    errno.ENOSPC: ("disk-full", "The file system is full. Free some space (for example with 'du -xsh ~/* ~/.cache') and run this again."),
    errno.EDQUOT: ("disk-full", "Your quota is used up. Free some space (for example with 'du -xsh ~/* ~/.cache') and run this again."),
    errno.EACCES: ("permission", "Give yourself access to it and run this again."),
    errno.EPERM: ("permission", "Make sure that it is yours and no link, and run this again."),
    errno.EROFS: ("read-only", "The file system is mounted read-only; ask your site, or set jupyter_batch_dir to a directory that can be written."),
    errno.ESTALE: ("stale-file", "The shared file system lost track of it. Run this again."),
}


def from_os_error(error, left="How far this step had come is not known; to run it again does nothing twice."):
    """Turn an OSError into a Failure that says what to do.

    :param left: str, a sentence on the state in which things were left.
    """
    cause, advice = _ADVICE.get(error.errno, ("file-error", "Look at that path on the login node and run this again."))
    path = error.filename or "a file"
    return Failure("%s: %s. %s %s" % (path, error.strerror or error, left, advice), cause)


def playbook(verb, session):
    """Return what a person types on the laptop about one session (str, in quotes).

    :param verb: str, a playbook of this collection: launch, connect or stop.
    :param session: str, the session's name.
    """
    which = "" if session == "default" else " -e jupyter_session=%s" % session
    return "'ansible-playbook hpc.jupyter.%s%s'" % (verb, which)


def sentence(text):
    """Return text that another sentence can follow (str, harmless to print)."""
    text = printable(str(text)).strip().rstrip(": ")
    return text if not text or text[-1] in ".!?" else text + "."
