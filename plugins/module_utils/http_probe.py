# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a Jupyter server who it is: used on the laptop, through the tunnel, and on the login node, through the second hop.

Interface: ``ask(address, session_id, ...) -> Answer``. Neither password nor token is sent.
"""

import collections
import hashlib
import re
import socket

from .files import printable

IDENTITY_HEADER = "X-Jupyter-Session"

Answer = collections.namedtuple("Answer", "kind detail")
Answer.__doc__ = """What answered.

kind: "ours"; "other" (something answers, and it is not this session's server); "untrusted" (its certificate is not the
session's or not from the user's authority); "nothing" (nobody listens at the address); "closed" (the connection opens and
closes without an answer: the far end of a forward is missing); "silent" (no answer in time: hung).
detail: a phrase for people, printable.
"""

_MOST = 65536


def _connect(address, timeout):
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _tls(connection, fingerprint, cafile):
    """Wrap a connection in TLS and return it with the reason for distrust, or None."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # A fingerprint that came over ssh says more than an authority: that may be another laptop's.
    if cafile and not fingerprint:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cafile)
        context.check_hostname = True
    wrapped = context.wrap_socket(connection, server_hostname="127.0.0.1")
    seen = hashlib.sha256(wrapped.getpeercert(True)).hexdigest()
    if fingerprint and seen != fingerprint.replace(":", "").lower():
        return wrapped, "its certificate has the fingerprint %s and the session's has %s" % (seen, fingerprint)
    return wrapped, None


def _headers(connection, base_url):
    """Send the request and return the head of the answer, b"" if the other side closed."""
    request = "GET %sapi HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nConnection: close\r\n\r\n" % base_url
    connection.sendall(request.encode("ascii"))
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _MOST:
        piece = connection.recv(4096)
        if not piece:
            break
        data += piece
    return data


def ask(address, session_id, base_url="/", tls=False, fingerprint=None, cafile=None, timeout=5.0):
    """Ask what listens at an address whether it is the server of a session.

    :param address: (host, port), or the path of a unix socket.
    :param session_id: str, what the server's identity header must hold.
    :param base_url: str, begins and ends with a slash.
    :param tls: bool, speak TLS.
    :param fingerprint: str or None, SHA-256 of the certificate in hexadecimal.
    :param cafile: str or None, the authority that must have signed the certificate for 127.0.0.1; for where there is no fingerprint.
    :param timeout: float, seconds for each step.
    :returns: Answer; never raises for what the other side does.
    """
    try:
        connection = _connect(address, timeout)
    except socket.timeout:
        return Answer("silent", "no connection within %g s" % timeout)
    except OSError as error:
        return Answer("nothing", printable(error.strerror or error))
    try:
        if tls:
            # It takes a while to load, which a launch by way of a socket need not wait for.
            import ssl

            try:
                connection, distrust = _tls(connection, fingerprint, cafile)
            except ssl.SSLError as error:
                if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
                    return Answer("closed", "the connection was closed without an answer")
                if "timed out" in str(error):
                    raise socket.timeout()
                return Answer("untrusted", printable(getattr(error, "verify_message", None) or error.reason or error))
            except ssl.CertificateError as error:  # no subclass of SSLError before Python 3.7
                return Answer("untrusted", printable(error))
            if distrust:
                return Answer("untrusted", distrust)
        data = _headers(connection, base_url)
    except socket.timeout:
        return Answer("silent", "no answer within %g s" % timeout)
    except OSError:
        return Answer("closed", "the connection was closed without an answer")
    finally:
        connection.close()
    if not data:
        return Answer("closed", "the connection was closed without an answer")
    head = data.partition(b"\r\n\r\n")[0].decode("latin-1")
    first = printable(head.partition("\r\n")[0], limit=80)
    if not re.match(r"HTTP/1\.[01] \d{3}", first):
        return Answer("other", "what answers speaks no HTTP (%s)" % first)
    for line in head.split("\r\n")[1:]:
        name, _colon, value = line.partition(":")
        if name.strip().lower() == IDENTITY_HEADER.lower():
            if value.strip() == session_id:
                return Answer("ours", first)
            return Answer("other", "another session's server answers")
    return Answer("other", "a web server answers that is not this session's (%s)" % first)
