#!/usr/bin/python
# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the module server; plugins/action/server.py does the work."""

DOCUMENTATION = r"""
module: server
short_description: Set Jupyter's password, certificate and settings up on a login node
version_added: 1.0.0
description:
  - Puts the hash of a password, a certificate with its key, the directory where notebooks start, and further settings
    into the Jupyter configuration of the user, for Jupyter Server as well as for the classic notebook.
  - What else the user has in these files stays byte for byte as it is. A file in which a value of theirs changes is
    kept beside it, with a time stamp.
  - The password is hashed on the controller and the key of the certificate authority stays there. Neither the password
    nor a hash shows in results, differences or logs.
options:
  password:
    description:
      - The password of the user's Jupyter. Best kept in a vault.
      - It is hashed anew only when the hash on the login node does not fit it.
      - With neither this nor O(password_hash), a password that is set there stays; when there is none, it is asked for
        on the terminal.
      - Mutually exclusive with O(password_hash).
    type: str
  password_hash:
    description: A hash in the form of Jupyter, C(argon2:...) or C(sha1:SALT:DIGEST), for those who keep no password.
    type: str
  password_algorithm:
    description:
      - How a password is hashed.
      - With V(auto) it is argon2 unless M(hpc.jupyter.batch) has found a Jupyter there that cannot read that, and a
        hash that verifies is kept as long as nothing is known of that Jupyter.
    type: str
    choices: [auto, argon2, sha1]
    default: auto
  password_only:
    description:
      - Change nothing, and fail where a setup would find no password, and nobody at a terminal to ask for one.
      - For the start of a play, before steps that would otherwise be done in vain. The login node is only asked when neither
        O(password) nor O(password_hash) is given, and nothing is returned.
    type: bool
    default: false
  root_dir:
    description:
      - Directory where notebooks start. C(~) and environment variables of the login node are expanded, and it is created
        with mode 0700 when it is missing.
      - Without it, what is set there stays.
    type: str
  settings:
    description:
      - Further settings, a dict of class names, each with a dict of its settings.
      - Classes of Jupyter Server go to C(jupyter_server_config.json), C(NotebookApp) to C(jupyter_notebook_config.json),
        any other class to both.
      - A setting that is taken out here later stays in the files.
    type: dict
    default: {}
  config_dir:
    description: Directory of the Jupyter configuration, for sites whose own Jupyter must not read ours.
    type: str
    default: ~/.jupyter
  batch_dir:
    description: Directory of M(hpc.jupyter.batch), for what it has found out and the logins of sessions.
    type: str
    default: ~/.jupyter/batch
  site_dir:
    description: Prefix of an installation for all users, as for M(hpc.jupyter.batch).
    type: str
    default: ""
  certificate_key_type:
    description: V(ec) is P-256. V(rsa) has 2048 bits, for an OpenSSL that knows no elliptic curves.
    type: str
    choices: [ec, rsa]
    default: ec
  certificate_days:
    description: How many days a certificate is valid. Systems and browsers refuse more than 825.
    type: int
    default: 90
  certificate_renew_days:
    description: How many days before its end a certificate is renewed.
    type: int
    default: 30
  ca_dir:
    description:
      - Directory of the certificate authority on the controller, made when it is missing.
      - The default is C(hpc.jupyter) in E(XDG_DATA_HOME) or C(~/.local/share).
    type: path
notes:
  - One task and at most two calls of the login node; the second one only when something has to change.
extends_documentation_fragment: [hpc.jupyter.attributes]
seealso:
  - module: hpc.jupyter.batch
author: hpc.jupyter contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Set Jupyter up, with the password from a vault
  hpc.jupyter.server:
    password: "{{ jupyter_password }}"
    root_dir: ~/notebooks

- name: Use a ready hash and switch the terminal off
  hpc.jupyter.server:
    password_hash: "{{ jupyter_password_hash }}"
    settings:
      ServerApp:
        terminals_enabled: false
      NotebookApp:
        terminals_enabled: false
"""

RETURN = r"""
config_dir:
  description: Directory of the configuration on the login node.
  returned: success
  type: str
  sample: /home/carol/.jupyter
root_dir:
  description: Where notebooks start, or none when nothing sets it.
  returned: success
  type: str
  sample: /home/carol/notebooks
password:
  description: What became of the password. V(rehashed) is the same password in another form.
  returned: success
  type: str
  sample: kept
  choices: [kept, set, changed, rehashed]
certificate:
  description: What became of the certificate.
  returned: success
  type: str
  sample: kept
  choices: [kept, issued, renewed]
certificate_reason:
  description: Why a certificate was made, or none.
  returned: success
  type: str
  sample: there was none
certificate_expires:
  description: The end of the certificate, UTC.
  returned: success
  type: str
  sample: "2027-02-21T10:00:00Z"
certfile:
  description: The certificate on the login node, followed by that of the authority.
  returned: success
  type: str
  sample: /home/carol/.jupyter/hpc-jupyter.crt
keyfile:
  description: The certificate's key on the login node.
  returned: success
  type: str
  sample: /home/carol/.jupyter/hpc-jupyter.key
ca_certificate:
  description: The certificate of the authority on the controller, to import into browsers.
  returned: success
  type: str
  sample: /home/carol/.local/share/hpc.jupyter/ca.crt
files:
  description: The files on the login node that have changed.
  returned: success
  type: list
  elements: str
  sample: []
backups:
  description: Copies of files in which a value of the user has changed.
  returned: success
  type: list
  elements: str
  sample: []
actions:
  description: What was done, in sentences.
  returned: success
  type: list
  elements: str
  sample: ["Created /home/carol/notebooks, where notebooks start."]
cause:
  description: A short word for what went wrong.
  returned: failure
  type: str
  sample: no-password
"""
