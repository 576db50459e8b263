# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import datetime
import ipaddress
import multiprocessing
import shutil
import socket
import ssl
import stat
import subprocess
import threading

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return certificate.Authority.open(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def issued(authority):
    return authority.issue()


def forge(authority, names, subject="localhost", days=(-1, 90)):
    """Sign with the authority's key what the authority itself would never sign."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority._key.public_key()), critical=False)
        .sign(authority._key, hashes.SHA256())
    )
    return certificate.Issued(
        leaf.public_bytes(serialization.Encoding.PEM).decode() + authority.pem,
        certificate._private_bytes(key).decode(), None)


def localhost():
    return [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.IPAddress(ipaddress.ip_address("::1"))]


class Server:
    """A TLS server that says hello over HTTP, once per connection, until it is closed."""

    def __init__(self, directory, pair, family=socket.AF_INET):
        (directory / "crt").write_text(pair.certificate)
        (directory / "key").write_text(pair.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(directory / "crt", directory / "key")
        self.socket = socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family)
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _address = self.socket.accept()
            except OSError:
                return
            connection.settimeout(10)
            try:
                with self.context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(4096)
                    tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            except OSError:
                pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(pair, family=socket.AF_INET):
        servers.append(Server(tmp_path, pair, family))
        return servers[-1].port

    yield start
    for server in servers:
        server.close()


def curl(url, ca, *more):
    return subprocess.run(["curl", "-sS", "--noproxy", "*", "--max-time", "10", "--cacert", str(ca), *more, url], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_openssl_accepts_the_chain(authority, tmp_path, key_type):
    pair = authority.issue(key_type=key_type)
    (tmp_path / "chain").write_text(pair.certificate)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip", "127.0.0.1", "-CAfile", str(authority.path), str(tmp_path / "chain")],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = subprocess.run(["openssl", "x509", "-noout", "-text", "-in", str(tmp_path / "chain")], capture_output=True, text=True, check=False).stdout
    assert "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in text
    assert "TLS Web Server Authentication" in text and "CA:FALSE" in text


def test_the_authority_can_vouch_for_nothing_but_this_host(authority):
    text = subprocess.run(["openssl", "x509", "-noout", "-text", "-in", str(authority.path)], capture_output=True, text=True, check=False).stdout
    assert "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0" in text
    assert "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n" in text
    constraints = text.partition("X509v3 Name Constraints: critical\n")[2].partition("X509v3")[0].split()
    assert " ".join(constraints) == (
        "Permitted: DNS:localhost IP:127.0.0.1/255.255.255.255 "
        "IP:0:0:0:0:0:0:0:1/FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF")


@pytest.mark.parametrize("host, family", [("127.0.0.1", socket.AF_INET), ("localhost", socket.AF_INET), ("[::1]", socket.AF_INET6)])
def test_curl_connects_by_every_name_without_a_complaint(authority, issued, serve, host, family):
    port = serve(issued, family)
    done = curl(f"https://{host}:{port}/", authority.path)
    assert (done.returncode, done.stdout) == (0, "hello"), done.stderr


def test_without_the_authority_curl_refuses(issued, serve, tmp_path):
    stranger = certificate.Authority.open(tmp_path / "stranger")
    done = curl(f"https://127.0.0.1:{serve(issued)}/", stranger.path)
    assert done.returncode == 60


def test_python_connects_and_checks_the_name(authority, issued, serve):
    context = ssl.create_default_context(cafile=authority.path)
    for name in ("localhost", "127.0.0.1"):
        port = serve(issued)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=name) as tls:
                assert tls.version() in ("TLSv1.2", "TLSv1.3")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(plain, server_hostname="notebook.example.org")


@pytest.mark.parametrize("names", [
    [x509.DNSName("bank.example.org")],
    [*localhost(), x509.DNSName("bank.example.org")],
    [x509.IPAddress(ipaddress.ip_address("127.0.0.2"))],
    [x509.IPAddress(ipaddress.ip_address("10.0.0.1"))],
])
def test_a_stolen_authority_is_no_use_for_other_names(authority, serve, names):
    port = serve(forge(authority, names))
    host = names[-1].value
    done = curl(f"https://{host}:{port}/", authority.path, "--connect-to", f"{host}:{port}:127.0.0.1:{port}")
    assert done.returncode == 60
    assert "permitted subtree violation" in done.stderr
    context = ssl.create_default_context(cafile=authority.path)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
            context.wrap_socket(plain, server_hostname=str(host))


def test_an_authority_below_the_authority_is_refused(authority, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "below")])
    below = (
        x509.CertificateBuilder().subject_name(name).issuer_name(authority.certificate.subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(authority._key, hashes.SHA256())
    )
    leaf = (
        x509.CertificateBuilder().subject_name(authority.certificate.subject).issuer_name(name).public_key(key.public_key())
        .serial_number(2).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=9)).sign(key, hashes.SHA256())
    )
    for file, one in (("below", below), ("leaf", leaf)):
        (tmp_path / file).write_bytes(one.public_bytes(serialization.Encoding.PEM))
    done = subprocess.run(["openssl", "verify", "-CAfile", str(authority.path), "-untrusted", str(tmp_path / "below"), str(tmp_path / "leaf")],
                          capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "path length" in done.stderr


def test_the_key_stays_with_its_owner(tmp_path):
    directory = tmp_path / "new" / "ca"
    certificate.Authority.open(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    (directory / "ca.key").chmod(0o644)
    with pytest.raises(certificate.CertificateError, match="can be read by others"):
        certificate.Authority.open(directory)


def test_the_default_place_follows_the_xdg_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert certificate.default_directory() == tmp_path / "hpc.jupyter"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert certificate.default_directory() == tmp_path / "home" / ".local" / "share" / "hpc.jupyter"


def test_looking_makes_nothing(tmp_path):
    assert certificate.Authority.open(tmp_path / "ca", create=False) is None
    assert not (tmp_path / "ca").exists()


def _open(directory, start, answers):
    start.wait()
    answers.put(certificate.Authority.open(directory).pem)


def test_many_plays_at_once_make_one_authority(tmp_path):
    spawn = multiprocessing.get_context("fork")
    start, answers = spawn.Event(), spawn.Queue()
    plays = [spawn.Process(target=_open, args=(tmp_path / "ca", start, answers)) for _play in range(12)]
    for play in plays:
        play.start()
    start.set()
    assert len({answers.get(timeout=60) for _play in plays}) == 1
    for play in plays:
        play.join()
    assert certificate.Authority.open(tmp_path / "ca").created is False


def test_a_run_killed_between_key_and_certificate_is_completed(tmp_path):
    first = certificate.Authority.open(tmp_path)
    key = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.crt").unlink()
    again = certificate.Authority.open(tmp_path)
    assert again.created and (tmp_path / "ca.key").read_bytes() == key
    assert again.signed(x509.load_pem_x509_certificate(first.issue().certificate.encode()))


@pytest.mark.parametrize("damage, words", [
    (lambda path: (path / "ca.key").unlink(), "without its key"),
    (lambda path: (path / "ca.key").write_text("x"), "damaged"),
    (lambda path: (path / "ca.crt").write_text("x"), "damaged"),
    (lambda path: shutil.copy(path / "other" / "ca.key", path / "ca.key"), "not the key of ca.crt"),
])
def test_a_damaged_authority_is_told_and_never_replaced(tmp_path, damage, words):
    certificate.Authority.open(tmp_path)
    certificate.Authority.open(tmp_path / "other")
    damage(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(certificate.CertificateError, match=words):
        certificate.Authority.open(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_directory_that_can_not_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(certificate.CertificateError, match="jupyter_ca_dir"):
        certificate.Authority.open(tmp_path / "file" / "ca")


def test_a_fresh_certificate_needs_no_renewal(authority, issued):
    assert certificate.needs_renewal(issued.certificate, authority, key_type="ec") is None
    end = certificate.expires(issued.certificate)
    assert end == issued.expires
    assert 89 < (end - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 86400 <= 90


def test_a_clock_hours_behind_accepts_it(issued):
    start = x509.load_pem_x509_certificate(issued.certificate.encode())
    assert certificate._not_before(start) < datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=23)


def test_no_certificate_outlives_its_authority(authority):
    assert authority.issue(days=99999).expires <= certificate._not_after(authority.certificate)


def test_every_reason_to_renew_is_found(authority, issued, tmp_path):
    def reason(pair, **more):
        return certificate.needs_renewal(pair if pair is None or isinstance(pair, str) else pair.certificate, authority, **more)

    stranger = certificate.Authority.open(tmp_path / "stranger")
    assert reason(None) == "missing"
    assert reason("") == "damaged"
    assert reason(issued.certificate.replace("MII", "MIJ", 1)) == "damaged"
    for state in ("missing", "mismatch", "damaged"):
        assert reason(issued, key_state=state) == "key"
    assert reason(issued, key_state="exposed") == "exposed"
    assert reason(stranger.issue()) == "issuer"
    assert certificate.needs_renewal(issued.certificate, None) == "issuer"
    # Signed by ours, and with another authority's certificate behind it.
    assert reason(issued.certificate.replace(authority.pem, stranger.pem)) == "issuer"
    assert reason(issued.certificate.replace(authority.pem, "")) == "issuer"
    assert reason(forge(authority, localhost()[:2])) == "names"
    assert reason(forge(authority, localhost(), days=(-9, -1))) == "expired"
    assert reason(forge(authority, localhost(), days=(-9, 29))) == "expiring"
    assert reason(forge(authority, localhost(), days=(-9, 29)), renew_days=10) is None
    assert reason(forge(authority, localhost(), days=(1, 90))) == "not-yet-valid"
    assert reason(authority.issue(key_type="rsa"), key_type="ec") == "key-type"
    assert reason(authority.issue(key_type="rsa")) is None


def test_a_forged_signature_of_the_same_issuer_name_is_found(authority, tmp_path):
    other = certificate.Authority.open(tmp_path)
    assert other.name == authority.name
    chain = other.issue().certificate.replace(other.pem, authority.pem)
    assert certificate.needs_renewal(chain, authority) == "issuer"


def test_reasons_have_words_and_the_description_has_no_key(authority, issued):
    text = certificate.describe(issued.certificate)
    assert "localhost, 127.0.0.1, ::1" in text and certificate.fingerprint(issued.certificate) in text
    assert certificate.describe(None) == "" and certificate.describe("x") == "damaged\n"
    assert issued.certificate.count("BEGIN CERTIFICATE") == 2 and "PRIVATE" not in issued.certificate


@pytest.mark.parametrize("key_type", ["ec", "rsa"])
@pytest.mark.parametrize(("days", "age", "renewed"), [
    (90, 0, False), (90, 59, False), (90, 61, True), (90, 95, True), (6, 0, False), (6, 3, False), (6, 5, True), (360, 320, False), (360, 335, True)])
def test_an_old_certificate_is_followed_by_one_of_its_kind(authority, monkeypatch, key_type, days, age, renewed):
    now = certificate._now()
    with monkeypatch.context() as context:
        context.setattr(certificate, "_now", lambda: now - datetime.timedelta(days=age))
        old = authority.issue(days, key_type)
    new = certificate.successor_of(old.certificate, authority, "good")
    assert (new is not None) == renewed
    if new:
        assert round((new.expires - now).total_seconds() / 86400) == days
        assert certificate.needs_renewal(new.certificate, authority, "good", 1, key_type) is None


def test_a_certificate_of_another_authority_has_no_successor_of_ours(authority, tmp_path):
    old = forge(authority, [x509.DNSName("localhost")], days=(-90, -1))
    assert certificate.successor_of(old.certificate, certificate.Authority.open(tmp_path), "good") is None
    assert certificate.successor_of(None, authority, "missing") is None
