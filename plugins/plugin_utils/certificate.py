# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's own certificate authority, and the certificates that it signs for Jupyter servers.

The authority's key never leaves the controller, and its name constraints are critical: even
stolen it can vouch for nothing but localhost.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import getpass
import ipaddress
import os
import pathlib
import socket
import stat
import tempfile
import typing

from ansible_collections.hpc.jupyter.plugins.plugin_utils import laptop

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

    _MISSING = None
except ImportError as error:
    _MISSING = error

DNS_NAME = "localhost"
ADDRESSES = ("127.0.0.1", "::1")
CA_DAYS = 3650
DAYS = 90
RENEW_DAYS = 30
# Clocks of clusters are off by minutes, now and then by hours.
_BACKDATED = datetime.timedelta(days=1)

REASONS = {
    "missing": "there was none",
    "damaged": "the one there was damaged",
    "key": "the key there was missing, damaged, or did not fit",
    "exposed": "others could read the key there",
    "issuer": "another certificate authority had signed the one there",
    "names": "the one there was not for localhost, 127.0.0.1 and ::1",
    "key-type": "another type of key is wanted",
    "expired": "the one there had expired",
    "expiring": "the one there was about to expire",
    "not-yet-valid": "the one there is valid only in the future",
}


class CertificateError(Exception):
    """The authority can't be used; the message says what to do."""


class NoKey(CertificateError):
    """Only the authority's certificate is here; it was copied to be trusted, or its key is lost."""


class Issued(typing.NamedTuple):
    """A new certificate: the chain and the key, both PEM, and its end (UTC)."""

    certificate: str
    key: str
    expires: datetime.datetime


class Authority:
    """The certificate authority in a directory of the controller.

    :param directory: holds ``ca.key`` (0600) and ``ca.crt``.
    """

    def __init__(self, directory: pathlib.Path, key, certificate):
        self.directory = directory
        self.path = directory / "ca.crt"
        self.certificate = certificate
        self.created = False
        self._key = key

    @classmethod
    def open(cls, directory: str | os.PathLike | None = None, create: bool = True) -> Authority | None:
        """Return the authority of a directory, made now if there is none yet.

        Several plays may do so at the same time: one of them makes it, all use it.

        :param directory: default ``$XDG_DATA_HOME/hpc.jupyter``.
        :param create: with False return None instead of making one.
        :raises CertificateError: when it is damaged, not ours, or can't be written.
        """
        if _MISSING:
            raise CertificateError(
                f"Certificates take the Python package cryptography here on the controller ({_MISSING}). "
                "Install it next to Ansible ('pip install cryptography')."
            )
        directory = pathlib.Path(directory) if directory else default_directory()
        try:
            if (directory / "ca.crt").exists():
                return cls._load(directory)
            if not create:
                return None
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(directory):
                if (directory / "ca.crt").exists():
                    return cls._load(directory)
                return cls._make(directory)
        except OSError as error:
            raise CertificateError(
                f"The certificate authority in {directory} can't be used: {error.strerror}"
                f"{f' ({error.filename})' if error.filename else ''}. "
                "Make that directory yours, or set jupyter_ca_dir to another one."
            ) from error

    @classmethod
    def _load(cls, directory: pathlib.Path) -> Authority:
        path = directory / "ca.key"
        try:
            status = path.stat()
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise CertificateError(
                    f"{path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}), who may have copied it. Remove "
                    f"{directory}/ca.key and ca.crt, run setup again and trust the new authority; or 'chmod 600 {path}' if nobody could reach it."
                )
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        except FileNotFoundError as error:
            raise NoKey(
                f"{directory}/ca.crt is there without its key ca.key. Put the key back from a backup, or remove ca.crt: "
                "setup then makes a new authority, which has to be trusted again."
            ) from error
        except (ValueError, TypeError) as error:
            raise CertificateError(
                f"The certificate authority in {directory} is damaged ({error}). Restore ca.key and ca.crt from a backup, or remove "
                "both: setup then makes a new authority, which has to be trusted again."
            ) from error
        if _public_bytes(key.public_key()) != _public_bytes(certificate.public_key()):
            raise CertificateError(
                f"{directory}/ca.key is not the key of ca.crt. Restore the right one from a backup, or remove both: setup then makes "
                "a new authority, which has to be trusted again."
            )
        authority = cls(directory, key, certificate)
        if _not_after(certificate) - _now() < datetime.timedelta(days=RENEW_DAYS):
            raise CertificateError(
                f"The certificate authority in {directory} ends on {_not_after(certificate):%Y-%m-%d}. Remove ca.key and ca.crt there: "
                "setup then makes a new one, which has to be trusted again ('ansible-playbook hpc.jupyter.trust')."
            )
        return authority

    @classmethod
    def _make(cls, directory: pathlib.Path) -> Authority:
        key_path = directory / "ca.key"
        try:
            # What a run left that was killed between the two files.
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        except FileNotFoundError:
            key = ec.generate_private_key(ec.SECP256R1())
            _write(key_path, _private_bytes(key), 0o600)
        except (ValueError, TypeError) as error:
            raise CertificateError(f"{key_path} is damaged ({error}) and has no ca.crt. Remove it and run this again.") from error
        now = _now()
        # The date tells two authorities of one laptop apart in a browser's list.
        subject = x509.Name([
            x509.NameAttribute(NameOID.COMMON_NAME, f"Jupyter of {_owner()[:40]} ({now:%Y-%m-%d})"),
        ])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _builder(subject, subject, key.public_key(), now - _BACKDATED, now + datetime.timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(
                x509.NameConstraints(
                    permitted_subtrees=[
                        x509.DNSName(DNS_NAME),
                        *(x509.IPAddress(ipaddress.ip_network(address)) for address in ADDRESSES),
                    ],
                    excluded_subtrees=None,
                ),
                critical=True,
            )
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(directory / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        authority = cls(directory, key, certificate)
        authority.created = True
        return authority

    @property
    def pem(self) -> str:
        """The authority's own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @property
    def name(self) -> str:
        """The name under which browsers list it."""
        return name(self.pem)

    def issue(self, days: int = DAYS, key_type: str = "ec") -> Issued:
        """Sign a new certificate for a new key.

        :param days: how long it is valid, at most as long as the authority.
        :param key_type: ``ec`` (P-256), or ``rsa`` (2048 bits) for an OpenSSL without elliptic curves.
        """
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048) if key_type == "rsa" else ec.generate_private_key(ec.SECP256R1())
        now = _now()
        expires = min(now + datetime.timedelta(days=days), _not_after(self.certificate))
        certificate = (
            # A name that the constraints allow, for libraries that look at it as if it were an address.
            _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DNS_NAME)]), self.certificate.subject, key.public_key(),
                     now - _BACKDATED, expires)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True, key_encipherment=key_type == "rsa"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName(DNS_NAME), *(x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES)]
                ),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            certificate.public_bytes(serialization.Encoding.PEM).decode("ascii") + self.pem,
            _private_bytes(key).decode("ascii"),
            expires.replace(microsecond=0),
        )

    def signed(self, certificate) -> bool:
        """Say whether a certificate is one of this authority's."""
        public_key = self.certificate.public_key()
        data = (certificate.signature, certificate.tbs_certificate_bytes)
        if certificate.issuer != self.certificate.subject:
            return False
        try:
            if isinstance(public_key, ec.EllipticCurvePublicKey):
                public_key.verify(*data, ec.ECDSA(certificate.signature_hash_algorithm))
            else:
                public_key.verify(*data, padding.PKCS1v15(), certificate.signature_hash_algorithm)
        except (InvalidSignature, TypeError):
            return False
        return True


def default_directory() -> pathlib.Path:
    """Return where the authority of this user lies."""
    return laptop.data_directory()


def authority_to_trust(directory: str | os.PathLike | None = None) -> str | None:
    """Return the certificate (PEM) of an authority that a browser may be told to trust, or None when there is none yet.

    Its key is not needed for this: a second computer may have only the certificate.

    :raises CertificateError: when it could vouch for more than this host, or can't be read.
    """
    path = (pathlib.Path(directory) if directory else default_directory()) / "ca.crt"
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CertificateError(f"{path} can't be read: {error.strerror}.") from error
    except (ValueError, x509.ExtensionNotFound):
        constraints = None
    wanted = {DNS_NAME, *(str(ipaddress.ip_network(address)) for address in ADDRESSES)}
    allowed = {str(name.value) for name in constraints.value.permitted_subtrees or ()} if constraints and constraints.critical else set()
    # A kind of name that no subtree mentions is not limited at all: all three have to be there, and nothing else.
    if allowed != wanted:
        raise CertificateError(
            f"{path} is damaged, or an authority that could vouch for more than localhost. To be trusted by a browser it must be "
            "limited (critical name constraints) to localhost, 127.0.0.1 and ::1, as the one that setup makes is."
        )
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def needs_renewal(
    pem: str | None,
    authority: Authority | None,
    key_state: str = "good",
    renew_days: float = RENEW_DAYS,
    key_type: str | None = None,
) -> str | None:
    """Return why a certificate should be issued anew, or None when it is fine.

    :param pem: the chain as the login node has it, or None.
    :param authority: None when there is none yet.
    :param key_state: what ``server_config.inspect`` says of the key.
    :param renew_days: how many days before its end it is renewed.
    :param key_type: ``ec`` or ``rsa``, or None when either will do.
    :returns: a key of ``REASONS``.
    """
    if pem is None:
        return "missing"
    chain = _chain(pem)
    if not chain:
        return "damaged"
    leaf = chain[0]
    if key_state == "exposed":
        return "exposed"
    if key_state not in ("good", "unchecked"):
        return "key"
    if authority is None or not authority.signed(leaf) or chain[1:] != [authority.certificate]:
        return "issuer"
    if not _for_localhost(leaf):
        return "names"
    now = _now()
    if _not_after(leaf) <= now:
        return "expired"
    if _not_after(leaf) - now < datetime.timedelta(days=renew_days):
        return "expiring"
    if _not_before(leaf) > now:
        return "not-yet-valid"
    if key_type and isinstance(leaf.public_key(), rsa.RSAPublicKey) != (key_type == "rsa"):
        return "key-type"
    return None


def successor_of(pem: str | None, authority: Authority, key_state: str) -> Issued | None:
    """Return a certificate to take the place of one that is old, of the same kind and for as long; None where it may stay.

    Only its age counts here: another authority is no reason, or two laptops would replace each other's for ever.
    """
    chain = _chain(pem or "")
    if not chain:
        return None
    leaf = chain[0]
    days = max(1, (_not_after(leaf) - _not_before(leaf) - _BACKDATED).days)
    # What setup was told to renew is not known here: later than that it is not for the usual numbers, and always in time.
    if needs_renewal(pem, authority, key_state, min(RENEW_DAYS, days / 3)) not in ("expired", "expiring"):
        return None
    return authority.issue(days, "rsa" if isinstance(leaf.public_key(), rsa.RSAPublicKey) else "ec")


def describe(pem: str | None) -> str:
    """Return what a diff shows of a certificate: public facts, one a line."""
    chain = _chain(pem or "")
    if not chain:
        return "damaged\n" if pem else ""
    leaf = chain[0]
    return (
        f"subject: {leaf.subject.rfc4514_string()}\nissuer: {leaf.issuer.rfc4514_string()}\n"
        f"names: {', '.join(_names(leaf))}\nvalid until: {_not_after(leaf):%Y-%m-%d %H:%M} UTC\n"
        f"sha256: {leaf.fingerprint(hashes.SHA256()).hex()}\n"
    )


def expires(pem: str | None) -> datetime.datetime | None:
    """Return the end (UTC) of the first certificate of a PEM text."""
    chain = _chain(pem or "")
    return _not_after(chain[0]) if chain else None


def name(pem: str) -> str:
    """Return the common name of the first certificate of a PEM text."""
    return _chain(pem)[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


def fingerprint(pem: str, algorithm: str = "sha256") -> str:
    """Return the hash of the first certificate's DER form in hexadecimal, as browsers and systems name it.

    :param algorithm: ``sha256``, or ``sha1`` for the tools that know certificates by that.
    """
    return _chain(pem)[0].fingerprint({"sha256": hashes.SHA256, "sha1": hashes.SHA1}[algorithm]()).hex()


def _chain(pem: str) -> list:
    try:
        marker = "-----END CERTIFICATE-----"
        parts = pem.split(marker)[:-1]
        return [x509.load_pem_x509_certificate((part.strip() + "\n" + marker + "\n").encode("ascii")) for part in parts]
    except ValueError:
        return []


def _names(certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in names]


def _for_localhost(certificate) -> bool:
    return set(_names(certificate)) == {DNS_NAME, *ADDRESSES}


def _builder(subject, issuer, public_key, start, end):
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _key_usage(**allowed: bool):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
             "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


def _owner() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user without an entry in passwd.
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname().partition('.')[0]}"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _not_after(certificate) -> datetime.datetime:
    # cryptography before 42 knows only the naive form.
    aware = getattr(certificate, "not_valid_after_utc", None)
    return aware or certificate.not_valid_after.replace(tzinfo=datetime.timezone.utc)


def _not_before(certificate) -> datetime.datetime:
    aware = getattr(certificate, "not_valid_before_utc", None)
    return aware or certificate.not_valid_before.replace(tzinfo=datetime.timezone.utc)


def _public_bytes(key) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _private_bytes(key) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@contextlib.contextmanager
def _locked(directory: pathlib.Path):
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: pathlib.Path, data: bytes, mode: int) -> None:
    """Create a file with all its content at once, for readers that don't take the lock."""
    handle, temporary = tempfile.mkstemp(prefix=".ca-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
