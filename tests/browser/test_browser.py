# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser at a live session: with the authority imported there is no warning, without it no way in."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import os
import pathlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator

import pytest
from chromium import Chromium
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from harness import PASSWORD, Cluster, Controller, free_port
from lab import log_in_and_run_a_cell

OTHER = "notebooks.example.org"


@pytest.fixture(scope="module")
def laptop(cluster: Cluster, collections: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """A laptop after setup, and after `hpc.jupyter.trust`."""
    cluster.clear()
    made = Controller(tmp_path_factory.mktemp("laptop"), collections, cluster.inventory, {
        "jupyter_modules": ["jupyterlab"], "jupyter_password": PASSWORD, "jupyter_walltime": "00:10:00", "jupyter_tunnel": "open"})
    made.run("setup").succeeded()
    made.run("trust").succeeded()
    yield made
    made.run("stop", jupyter_all_sessions=True)
    cluster.clear()


@pytest.fixture(scope="module")
def tls(laptop: Controller) -> dict:
    """A session behind TLS with its tunnel open."""
    session = laptop.run("launch", jupyter_session="tls", jupyter_endpoint="tls", jupyter_local_port=free_port()).succeeded().of("session")
    assert session["endpoint"]["kind"] == "tls" and session["tunnel"]["url"].startswith("https://127.0.0.1:")
    return session


@pytest.fixture
def stranger(tmp_path: pathlib.Path) -> pathlib.Path:
    """The home of a person who imported nothing."""
    return tmp_path


def test_over_tls_with_the_authority_imported_there_is_no_warning(laptop, tls):
    with Chromium(laptop.home) as browser:
        assert log_in_and_run_a_cell(browser, tls["tunnel"]["url"]) == f"on {tls['node']}"
        assert browser.security == "secure"


def test_over_tls_without_the_authority_the_browser_refuses(tls, stranger):
    with Chromium(stranger) as browser:
        assert browser.go(tls["tunnel"]["url"]) == "net::ERR_CERT_AUTHORITY_INVALID"
        assert browser.security != "secure"
        assert not browser.evaluate("document.querySelector('#password_input')")


def test_through_a_unix_socket_and_the_relay(laptop, stranger):
    session = laptop.run("launch", jupyter_route="relay", jupyter_local_port=free_port()).succeeded().of("session")
    assert session["endpoint"]["kind"] == "socket" and session["tunnel"]["route"] == "relay"
    with Chromium(stranger) as browser:
        assert log_in_and_run_a_cell(browser, session["tunnel"]["url"]) == f"on {session['node']}"


def test_a_wrong_password_stays_at_the_login(laptop, tls):
    with Chromium(laptop.home) as browser:
        assert browser.go(tls["tunnel"]["url"] + "lab") is None
        browser.type("#password_input", PASSWORD + "!")
        browser.click("#login_submit")
        browser.until("document.body.innerText.includes('Invalid credentials')")
        assert browser.go(tls["tunnel"]["url"] + "api/contents") is None
        assert "Forbidden" in browser.text()


# -- what the authority's signature is worth ---------------------------------------------------


@contextlib.contextmanager
def serving(certificate: pathlib.Path) -> Iterator[int]:
    """A web server on 127.0.0.1 with a certificate and its key; the block has its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.do_GET = lambda handler: (
        handler.send_response(200), handler.send_header("Content-Length", "2"), handler.end_headers(), handler.wfile.write(b"in"))
    server.RequestHandlerClass.log_message = lambda *_arguments: None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def sign(authority: pathlib.Path, path: pathlib.Path, *names: str) -> pathlib.Path:
    """Do with the authority's key what a thief would: sign a certificate for any names."""
    issuer = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    alternatives = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    certificate = (
        x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "thief")])).issuer_name(issuer.subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .sign(signer, hashes.SHA256()))
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path


def openssl(authority: str, host: str, port: int) -> bool:
    checks = ["-verify_ip", host] if host[0].isdigit() else ["-verify_hostname", host]
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", authority, "-verify_return_error", *checks],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode == 0 and "Verify return code: 0 (ok)" in done.stdout


def curl(authority: str, host: str, port: int) -> bool:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        ["curl", "-sS", "--cacert", authority, "--resolve", f"{host}:{port}:127.0.0.1", "-o", "/dev/null", f"https://{host}:{port}/"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False, env=environment)
    return done.returncode == 0


def python(authority: str, host: str, port: int) -> bool:
    context = ssl.create_default_context(cafile=authority)
    try:
        with contextlib.closing(socket.create_connection(("127.0.0.1", port), 30)) as plain, context.wrap_socket(plain, server_hostname=host):
            return True
    except ssl.SSLCertVerificationError:
        return False


def test_openssl_curl_and_python_accept_the_chain_of_a_live_session(laptop, tls):
    port = tls["tunnel"]["port"]
    for accepts in (openssl, curl, python):
        for name in ("127.0.0.1", "localhost"):
            assert accepts(str(laptop.authority), name, port), (accepts.__name__, name)
        # Without the authority they don't; with it they don't for another name.
        assert not accepts("/etc/ssl/certs/ca-certificates.crt", "127.0.0.1", port)
        assert not accepts(str(laptop.authority), OTHER, port)


@pytest.mark.parametrize("names, host, good", [
    pytest.param(["127.0.0.1", "localhost"], "127.0.0.1", True, id="itself"),
    pytest.param(["127.0.0.1", OTHER], "127.0.0.1", False, id="one name too many"),
    pytest.param([OTHER], OTHER, False, id="another name"),
    pytest.param(["10.0.0.1"], "10.0.0.1", False, id="another address"),
])
def test_a_certificate_of_the_authority_is_good_for_localhost_alone(laptop, tmp_path, names, host, good):
    with serving(sign(laptop.authority.parent, tmp_path / "leaf.pem", *names)) as port:
        for accepts in (openssl, curl, python):
            assert accepts(str(laptop.authority), host, port) == good, accepts.__name__
        with Chromium(laptop.home, f"--host-resolver-rules=MAP {OTHER} 127.0.0.1, MAP 10.0.0.1 127.0.0.1") as browser:
            error = browser.go(f"https://{host}:{port}/")
            if good:
                assert error is None and browser.security == "secure"
            else:
                assert error and error.startswith("net::ERR_CERT_"), error
