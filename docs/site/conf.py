"""Sphinx's configuration for the documents' site."""

from djdeploy import __version__

project = "djdeploy"
author = copyright = "The djdeploy authors"
release = version = __version__

extensions = ["myst_parser"]
myst_heading_anchors = 4  # the anchors of headings that a forge makes, so that a link works there and here
html_theme = "furo"
html_title = "djdeploy"
