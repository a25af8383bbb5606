"""Finds the module that a program lacks in its error, and the names under which an index and Debian have it."""

from __future__ import annotations

import re
import sys

_MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")
_NAMES = {
    "Crypto": "pycryptodome",
    "Levenshtein": "levenshtein",
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "pkg_resources": "setuptools",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages whose modules have another name than themselves."""
_DEBIAN_NAMES = {"Crypto": "pycryptodome", "cv2": "opencv"}
"""Debian names a package after its module, but these."""
_OURS = frozenset({"solution", "tests", "test", "conftest"})
"""Names of a task's own files: no package of that name is missing."""


def missing_module(error: str) -> str | None:
    """The top-level module that `error` says is not installed; None if it says no such thing."""
    found = _MISSING.search(error)
    if found is None or is_ours(found[1]) or found[1] in sys.stdlib_module_names:
        return None
    return found[1]


def is_ours(module: str) -> bool:
    """Whether a module of this name is a task's own, so that no package of the name is missing."""
    return module in _OURS or module.startswith("_")


def package_of(module: str) -> str:
    """The package, as an index names it, that has the top-level module."""
    return _NAMES.get(module, module)


def debian_package_of(module: str) -> str:
    """The package, as Debian names it, that has the top-level module."""
    return f"python3-{_DEBIAN_NAMES.get(module, module.lower().replace('_', '-'))}"
