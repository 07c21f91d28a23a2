"""Writes the API page to docs/api from the docstrings: `python docs/build.py`."""

import os
import typing
from inspect import isfunction
from pathlib import Path

typing.GENERATING_DOCUMENTATION = "jaxcnn"  # jaxtyping then leaves its own name out of the signatures

import pdoc  # noqa: E402

import jaxcnn  # noqa: E402

MODULES = ("lax", "check", "reference", "notebook")

functions = [name for name, value in vars(jaxcnn).items() if isfunction(value) and name[0] != "_"]
jaxcnn.__all__ = [*MODULES, *functions]  # what pdoc shows of a package that imports what it offers
os.chdir(Path(__file__).parent)  # a folder of the package's name beside it would make pdoc warn
pdoc.render.configure(docformat="google", show_source=False)
pdoc.pdoc(
    "jaxcnn",
    "!jaxcnn[.].*",  # no page for each file, but for
    *(f"jaxcnn.{name}" for name in MODULES),
    "!jaxcnn.(check|reference)[.].*",
    output_directory=Path("api"),
)
