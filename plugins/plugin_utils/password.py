# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Password hashes as Jupyter reads them, made and checked on the controller."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

try:
    from passlib.hash import argon2 as _passlib_argon2
    # passlib looks for a backend (argon2-cffi) only when it is used.
    _passlib_argon2.get_backend()
    _MISSING = None
except Exception as error:  # passlib raises its own MissingBackendError, a missing passlib ImportError
    _passlib_argon2 = None
    _MISSING = error

ALGORITHMS = ("argon2", "sha1")
# jupyter_server's own parameters (jupyter_server.auth.security.passwd); memory in KiB.
_ARGON2 = {"type": "ID", "memory_cost": 10240, "time_cost": 10, "parallelism": 8}
_SALT_BYTES = 16

_ARGON2_FORM = re.compile(r"argon2:\$argon2(?:id|i|d)\$(?:v=\d+\$)?m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+", re.ASCII)
_DIGEST_FORM = re.compile(r"([a-z0-9_]+):([^:\s]+):([0-9a-f]+)", re.ASCII)


class PasswordError(Exception):
    """A password or a hash that can't be used; the message holds neither."""


def check_password(password: str) -> str:
    """Return a password that can be typed into a login page.

    :raises PasswordError: for an empty one (a prompt without a terminal and an unset environment
        variable both end as one) and for one with control characters (a file's newline, usually).
    """
    if not password or not password.strip():
        raise PasswordError("The password is empty.")
    if any(ord(character) < 32 or ord(character) == 127 for character in password):
        raise PasswordError(
            "The password holds a line break or another control character, which no login page lets you type "
            "(a file or a pipe often adds one at its end)."
        )
    return password


def algorithm_of(hashed: str) -> str | None:
    """Return a hash's algorithm, or None when the text is no hash that Jupyter reads."""
    if _ARGON2_FORM.fullmatch(hashed):
        return "argon2"
    match = _DIGEST_FORM.fullmatch(hashed)
    if match and match[1] in hashlib.algorithms_available:
        try:
            if len(match[3]) == 2 * hashlib.new(match[1]).digest_size:
                return match[1]
        except ValueError:
            # Listed and yet switched off, as in FIPS mode.
            pass
    return None


def hash_password(password: str, algorithm: str) -> str:
    """Return the hash of a password in the form that Jupyter reads.

    :param algorithm: ``argon2``, or ``sha1`` for a classic notebook that knows no better.
    :raises PasswordError: for an unusable password, or when a library is missing here.
    """
    check_password(password)
    if algorithm == "argon2":
        return "argon2:" + _argon2().hash(password)
    if algorithm != "sha1":
        raise PasswordError(f"'{algorithm}' is none of {', '.join(ALGORITHMS)}.")
    salt = secrets.token_hex(_SALT_BYTES)
    return f"sha1:{salt}:{_digest('sha1', password, salt)}"


def verify(password: str, hashed: str) -> bool:
    """Say whether a hash is that of a password; a text that is no hash is nobody's.

    :raises PasswordError: when a library that this takes is missing here.
    """
    algorithm = algorithm_of(hashed)
    if algorithm is None:
        return False
    if algorithm == "argon2":
        try:
            return _argon2().verify(password, hashed.partition(":")[2])
        except ValueError:
            return False
    _name, salt, digest = hashed.split(":")
    return hmac.compare_digest(_digest(algorithm, password, salt), digest)


def needs_update(hashed: str, algorithm: str) -> bool:
    """Say whether a hash that verifies should be made anew, for another algorithm or stronger parameters.

    :param algorithm: ``argon2`` or ``sha1``, what is wanted.
    """
    if algorithm_of(hashed) != algorithm:
        return True
    return algorithm == "argon2" and _argon2().needs_update(hashed.partition(":")[2])


def check_hash(hashed: str) -> str:
    """Return a ready hash that Jupyter reads.

    :raises PasswordError: for anything else, and for the hash of an empty password.
    """
    hashed = hashed.strip()
    if algorithm_of(hashed) is None:
        raise PasswordError(
            "The hash is none that Jupyter reads: 'argon2:$argon2id$...' or 'sha1:SALT:DIGEST'. "
            "\"python -c 'from jupyter_server.auth import passwd; print(passwd())'\" prints one."
        )
    if verify("", hashed):
        raise PasswordError("The hash is that of an empty password.")
    return hashed


def unseal(sealed: bytes, pad: bytes) -> str:
    """Return a hash that the login node combined with a one-time pad."""
    return bytes(one ^ two for one, two in zip(sealed, pad, strict=False)).decode("utf-8", "replace")


def _argon2():
    if _passlib_argon2 is None:
        raise PasswordError(
            f"argon2 hashes take the Python packages libpass (or passlib) and argon2-cffi here on the controller ({_MISSING}). "
            "Install them next to Ansible ('pip install libpass argon2-cffi'), or give a ready hash in jupyter_password_hash."
        )
    return _passlib_argon2.using(**_ARGON2)


def _digest(algorithm: str, password: str, salt: str) -> str:
    # The scheme is Jupyter's, not ours: one round over password and salt.
    digest = hashlib.new(algorithm)
    digest.update(password.encode("utf-8") + salt.encode("ascii", "replace"))
    return digest.hexdigest()
