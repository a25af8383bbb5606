"""A missing module is found in an error, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from agent_rl.judging.missing_package import debian_package_of, missing_module, package_of


@pytest.mark.parametrize(
    ("error", "module"),
    [
        ("the tests could not be recorded: ModuleNotFoundError: No module named 'numpy'", "numpy"),
        ("ModuleNotFoundError: No module named 'numpy.linalg'; and more", "numpy"),
        ("ModuleNotFoundError: No module named 'sklearn.svm'", "sklearn"),
        ("ModuleNotFoundError: No module named 'cv2'", "cv2"),
        ("ModuleNotFoundError: No module named 'solution'", None),
        ("ModuleNotFoundError: No module named 'tkinter'", None),  # of the standard library: no index has it
        ("ModuleNotFoundError: No module named '_private'", None),
        ("ImportError: cannot import name 'x' from 'numpy'", None),
        ("NameError: name 'numpy' is not defined", None),
        ("", None),
    ],
)
def test_the_module_that_an_error_says_is_missing(error: str, module: str | None) -> None:
    assert missing_module(error) == module


@pytest.mark.parametrize(
    ("module", "package", "debian"),
    [
        ("numpy", "numpy", "python3-numpy"),
        ("sklearn", "scikit-learn", "python3-sklearn"),
        ("cv2", "opencv-python-headless", "python3-opencv"),
        ("yaml", "pyyaml", "python3-yaml"),
        ("PIL", "pillow", "python3-pil"),
        ("pkg_resources", "setuptools", "python3-pkg-resources"),
    ],
)
def test_the_names_of_the_package_that_has_a_module(module: str, package: str, debian: str) -> None:
    assert (package_of(module), debian_package_of(module)) == (package, debian)
