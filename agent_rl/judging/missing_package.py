"""Finds the package that a program lacks in its error, and the name under which an index has it."""

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
_OURS = frozenset({"solution", "tests", "test", "conftest"})
"""Names of a task's own files: no package of that name is missing."""


def missing_package(error: str) -> str | None:
    """The package, as an index names it, that `error` says is not installed; None if it says no such thing."""
    found = _MISSING.search(error)
    if found is None or found[1] in _OURS or found[1].startswith("_") or found[1] in sys.stdlib_module_names:
        return None
    return _NAMES.get(found[1], found[1])
