# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which a server's life ends."""
from __future__ import absolute_import, division, print_function


class Failure(Exception):
    """The server can't be had.

    :ivar cause: one machine word, the ``cause`` of server.json.
    :ivar reason: a sentence for the person, with the remedy.
    """

    def __init__(self, cause, reason):
        Exception.__init__(self, reason)
        self.cause = cause
        self.reason = reason


class Refused(Exception):
    """This job must not act as the session, and may touch nothing of it.

    The text of the exception is a sentence for the person.
    """


class Ended(Exception):
    """Somebody wants the job to end.

    :ivar cause: "stop", "idle", "shutdown", "walltime", "signal" or "superseded".
    :ivar reason: a sentence for the person.
    :ivar status: exit status of the keeper.
    """

    def __init__(self, cause, reason, status):
        Exception.__init__(self, reason)
        self.cause = cause
        self.reason = reason
        self.status = status
