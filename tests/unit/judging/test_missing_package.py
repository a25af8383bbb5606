"""A missing package is found in an error, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from agent_rl.judging.missing_package import missing_package


@pytest.mark.parametrize(
    ("error", "package"),
    [
        ("the tests could not be recorded: ModuleNotFoundError: No module named 'numpy'", "numpy"),
        ("ModuleNotFoundError: No module named 'numpy.linalg'; and more", "numpy"),
        ("ModuleNotFoundError: No module named 'sklearn.svm'", "scikit-learn"),
        ("ModuleNotFoundError: No module named 'cv2'", "opencv-python-headless"),
        ("ModuleNotFoundError: No module named 'solution'", None),
        ("ModuleNotFoundError: No module named 'tkinter'", None),  # of the standard library: no index has it
        ("ModuleNotFoundError: No module named '_private'", None),
        ("ImportError: cannot import name 'x' from 'numpy'", None),
        ("NameError: name 'numpy' is not defined", None),
        ("", None),
    ],
)
def test_the_package_that_an_error_says_is_missing(error: str, package: str | None) -> None:
    assert missing_package(error) == package
