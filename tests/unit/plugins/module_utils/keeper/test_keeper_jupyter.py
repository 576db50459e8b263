# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import endings, jupyter


def make_package(directory, name, version, info=True):
    (directory / name).mkdir(parents=True)
    (directory / name / "__init__.py").write_text("raise RuntimeError('nobody may import it')\n" if info else "__version__ = '%s'\n" % version)
    if info:
        (directory / ("%s-%s.dist-info" % (name, version))).mkdir()


@pytest.mark.parametrize("packages, module, flavour, version, sockets", [
    ({"jupyterlab": "4.6.6", "jupyter_server": "2.21.1", "notebook": "7.6"}, "jupyterlab", "jupyter_server", "2.21.1", True),
    ({"notebook": "7.6", "jupyter_server": "2.21.1"}, "notebook", "jupyter_server", "2.21.1", True),
    ({"notebook": "6.5.7", "nbclassic": "1.3", "jupyter_server": "2.21.1"}, "notebook", "notebook", "6.5.7", True),
    ({"notebook": "5.7.8"}, "notebook", "notebook", "5.7.8", False),
    ({"jupyterlab": "2.3", "notebook": "6.0.3"}, "jupyterlab", "notebook", "6.0.3", False),
    ({"nbclassic": "1.3", "jupyter_server": "1.8"}, "nbclassic", "jupyter_server", "1.8", False),
    ({"jupyter_server": "1.9.0"}, "jupyter_server", "jupyter_server", "1.9.0", True),
])
@pytest.mark.parametrize("info", [True, False])
def test_which_jupyter_is_found_without_importing_it(tmp_path, packages, module, flavour, version, sockets, info):
    for name, number in packages.items():
        make_package(tmp_path, name, number, info)
    found = jupyter.find_jupyter(path=[str(tmp_path / "empty"), str(tmp_path)])
    assert (found.module, found.flavour, found.version, found.has_sockets) == (module, flavour, version, sockets)


def test_an_egg_of_python_2_tells_its_version(tmp_path):
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "__init__.py").write_text("")
    (tmp_path / "notebook-5.7.8-py2.7.egg-info").mkdir()
    assert jupyter.find_package("notebook", [str(tmp_path)])[1] == "5.7.8"


def test_a_missing_jupyter_names_the_way_out(tmp_path):
    with pytest.raises(endings.Failure) as caught:
        jupyter.find_jupyter(path=[str(tmp_path)])
    assert caught.value.cause == "jupyter-missing"
    assert "jupyter_modules" in caught.value.reason and "jupyter_install: true" in caught.value.reason
