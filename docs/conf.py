"""The documentation as a site: these pages, and the reference that antsibull-docs makes from the source."""

import pathlib

import yaml

_GALAXY = yaml.safe_load((pathlib.Path(__file__).resolve().parent.parent / "galaxy.yml").read_text(encoding="utf-8"))

project = "hpc.jupyter"
author = "hpc.jupyter contributors"
release = version = _GALAXY["version"]
root_doc = "docs/index"
include_patterns = ["docs/**", "roles/*/README.md", "inventory/README.md", "tests/recordings/README.md", "CHANGELOG.md", "README.md"]
html_title = f"hpc.jupyter {version}"
html_theme = "furo"
html_show_sourcelink = False
html_show_copyright = False
extensions = ["myst_parser", "sphinx_antsibull_ext"]
# Headings can be linked to, as they can where the pages are read as plain files.
myst_heading_anchors = 4
