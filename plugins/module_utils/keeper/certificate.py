# -*- coding: utf-8 -*-
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate that the server shows: a copy of the job's own, proven to work."""
from __future__ import absolute_import, division, print_function

import hashlib
import io
import os
import re
import sys
import tempfile
import time

from .compat import ssl
from .endings import Failure
from .private_files import write_private
from .text import printable


def take(certfile, keyfile, node_dir):
    """Copy a certificate and its key to the node's disk, and prove that a server can use them now.

    A running Jupyter reads its files again at every connection. With a copy, a new certificate in ~/.jupyter changes nothing of
    what it shows, and the fingerprint that we tell stays true. Each call makes new files, so one that fails leaves a running
    server its own.

    :param keyfile: None where the key stands in the certificate's file.
    :param node_dir: the job's directory on the node's disk.
    :returns: (copy of the certificate, copy of the key, SHA-256 of the leaf (DER) as hex digits).
    :raises Failure: missing, unreadable, damaged, not matching, protected by a passphrase, or expired.
    """
    remedy = " Run setup again: it makes a new one."
    if ssl is None:
        raise Failure("certificate", "The Python of the job (%s) was built without ssl, so it can't serve TLS. Name another in jupyter_modules, or "
                                     "set jupyter_install: true." % sys.executable)
    if not certfile:
        raise Failure("certificate", "This server needs a certificate (it can't or must not use a unix socket), and none is set." + remedy)
    directory = tempfile.mkdtemp(prefix="tls-", dir=node_dir)
    copies = []
    for path, name in ((certfile, "certificate"), (keyfile or certfile, "key")):
        try:
            with io.open(path, "rb") as stream:
                data = stream.read()
        except (IOError, OSError) as error:
            raise Failure("certificate", "The certificate file %s can't be read: %s.%s" % (path, os.strerror(error.errno), remedy))
        copies.append(os.path.join(directory, name))
        write_private(copies[-1], data)
    certificate, key = copies
    try:
        context = ssl.SSLContext(getattr(ssl, "PROTOCOL_TLS_SERVER", ssl.PROTOCOL_SSLv23))
        # An empty passphrase, for OpenSSL would otherwise ask a terminal that a job doesn't have.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError, IOError, OSError) as error:
        raise Failure("certificate", "The certificate %s and its key can't be used together: %s.%s" % (certfile, printable(str(error)), remedy))
    with io.open(certificate, "r", encoding="ascii", errors="replace") as stream:
        pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", stream.read(), re.DOTALL).group(0)
    try:
        ends = ssl.cert_time_to_seconds(ssl._ssl._test_decode_cert(certificate)["notAfter"])
    except (AttributeError, KeyError, ValueError, ssl.SSLError):  # not public, so it may go: then nobody looks at the date here
        ends = None
    if ends is not None and ends < time.time():
        raise Failure("certificate", "The certificate %s ended on %s.%s" % (certfile, time.strftime("%Y-%m-%d", time.gmtime(ends)), remedy))
    return certificate, key, hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
