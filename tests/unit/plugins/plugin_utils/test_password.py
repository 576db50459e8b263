# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import hashlib

import pytest
from ansible_collections.hpc.jupyter.plugins.plugin_utils import password

# As jupyter_server 2.21's passwd() and notebook 5.7's passwd() make them.
FROM_SERVER = "argon2:$argon2id$v=19$m=10240,t=10,p=8$uGQ/4bKilwq+NeY/aYN+Mg$TllKJE+J2oyI17wqd3DCx6/QPv9eqjJ/9bGcFgCsuAI"
FROM_NOTEBOOK = "sha1:7228439dcebb:24bc79c8c4948da4c0c859c20595cf7187ea8af9"


@pytest.mark.parametrize("algorithm", password.ALGORITHMS)
def test_a_hash_verifies_and_needs_no_second_one(algorithm):
    hashed = password.hash_password("correct horse", algorithm)
    assert password.algorithm_of(hashed) == algorithm
    assert password.verify("correct horse", hashed)
    assert not password.verify("correct hors", hashed)
    assert not password.needs_update(hashed, algorithm)


def test_two_hashes_of_one_password_differ():
    assert password.hash_password("x1", "sha1") != password.hash_password("x1", "sha1")


def test_jupyter_itself_takes_the_hashes():
    from jupyter_server.auth import security

    for algorithm in password.ALGORITHMS:
        assert security.passwd_check(password.hash_password(u"gr\u00fc\u00df dich", algorithm), u"gr\u00fc\u00df dich")
    assert password.verify("secret", security.passwd("secret"))
    assert not password.needs_update(security.passwd("secret"), "argon2")


@pytest.mark.parametrize("hashed, text", [
    (FROM_SERVER, "correct horse battery"),
    (FROM_NOTEBOOK, "correct horse battery"),
])
def test_hashes_that_jupyter_made_verify(hashed, text):
    assert password.verify(text, hashed)
    assert not password.verify(text + " ", hashed)


def test_weaker_parameters_and_another_algorithm_are_renewed():
    from passlib.hash import argon2

    weak = "argon2:" + argon2.using(type="ID", memory_cost=64, time_cost=1, parallelism=1).hash("x1")
    assert password.verify("x1", weak)
    assert password.needs_update(weak, "argon2")
    assert password.needs_update(password.hash_password("x1", "sha1"), "argon2")
    assert password.needs_update(password.hash_password("x1", "argon2"), "sha1")


@pytest.mark.parametrize("text", ["", " ", "\n", "secret\n", "a\tb", "a\x7fb"])
def test_what_nobody_could_type_is_refused(text):
    with pytest.raises(password.PasswordError):
        password.hash_password(text, "sha1")


@pytest.mark.parametrize("hashed", [
    "", "secret", "sha1:salt", "sha1:salt:12", "sha1:salt:" + "g" * 40, "nosuch:salt:" + "a" * 40,
    "argon2:$argon2id$v=19$m=10240", "$argon2id$v=19$m=10240,t=10,p=8$c2FsdHNhbHQ$aGFzaGhhc2g", "sha1:a b:" + "a" * 40,
])
def test_what_is_no_hash_is_refused_without_showing_it(hashed):
    assert not password.verify("secret", hashed)
    with pytest.raises(password.PasswordError) as caught:
        password.check_hash(hashed)
    assert hashed == "" or hashed not in str(caught.value)


@pytest.mark.parametrize("hashed", [
    "sha1:abc:" + hashlib.sha1(b"abc").hexdigest(), "sha256:abc:" + hashlib.sha256(b"abc").hexdigest(),
])
def test_the_hash_of_an_empty_password_is_refused(hashed):
    with pytest.raises(password.PasswordError, match="empty"):
        password.check_hash(hashed)


def test_a_ready_hash_may_end_with_a_line_break():
    hashed = password.hash_password("x1", "sha1")
    assert password.check_hash(hashed + "\n") == hashed


def test_a_pad_hides_and_gives_back():
    pad = bytes(range(100, 200))
    sealed = bytes(a ^ b for a, b in zip(b"sha1:x:y", pad, strict=False))
    assert password.unseal(sealed, pad) == "sha1:x:y"


def test_without_the_library_the_message_names_it(monkeypatch):
    monkeypatch.setattr(password, "_passlib_argon2", None)
    with pytest.raises(password.PasswordError, match="pip install libpass argon2-cffi"):
        password.hash_password("x1", "argon2")
    assert password.verify("x1", password.hash_password("x1", "sha1"))
