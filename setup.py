"""Installs everything as one package, `mgnm_tf`, with its commands.

In the checkout the packages of a run (`data`, `harness`, ...) lie beside `mgnm_tf`.
Installed they lie inside it, so that nobody's own `data` is in their way:
installation/rooms.py moves them while a wheel is built.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from installation import rooms  # noqa: E402

VERSION = re.search(
    r'__version__ = "(.+?)"', (HERE / "mgnm_tf/__init__.py").read_text()
).group(1)

# The two stacks. Each holds what its TensorFlow takes.
STACKS = {
    "2.15": [
        # The last TensorFlow with Keras 2, and the last that tensorflow-addons takes.
        "tensorflow>=2.15.1,<2.16",
        "tensorflow-addons>=0.23,<0.24",  # LazyAdam
        "tensorboard>=2.15.2,<2.16",
        "setuptools<81",  # TensorBoard 2.15 imports pkg_resources.
        # TensorFlow 2.15 takes no NumPy 2, which newer versions of these need.
        "numpy>=1.26,<2",
        "pandas>=2.1,<2.3",
        "scikit-learn>=1.3,<1.7",
        "scipy>=1.11,<1.16",
        "pyarrow>=14,<22",
        "matplotlib>=3.8,<3.11",
    ],
    "latest": [
        "tensorflow>=2.21,<2.22",
        "tf-keras>=2.21,<2.22",  # Keras 2, of TensorFlow's own minor version
        "tensorboard>=2.20,<2.22",  # TensorFlow 2.21 no longer brings it.
        "numpy>=2,<3",
        "pandas>=3,<4",
        "scikit-learn>=1.7,<2",
        "scipy>=1.16,<2",
        "pyarrow>=22,<27",
        "matplotlib>=3.10,<4",
    ],
}
# 1.13 is the last for Python 3.9; pip takes what fits.
FAISS = "faiss-cpu>=1.8,<1.16"
FOR_ALL = [
    "absl-py>=2",
    "tqdm>=4.66",
    "requests>=2.31",
    "urllib3>=2.2",  # read1: what has come by now, so that a slow server is noticed
]
# Python 3.9 to 3.11 gets the first, 3.12 and 3.13 the second.
MARKERS = {"2.15": 'python_version < "3.12"', "latest": 'python_version >= "3.12"'}


def requirements() -> list[str]:
    """By the Python that installs, or of the stack that MGNM_TENSORFLOW names."""
    forced = os.environ.get("MGNM_TENSORFLOW")
    if not forced:
        return FOR_ALL + [
            f"{package}; {MARKERS[stack]}"
            for stack, packages in STACKS.items()
            for package in packages
        ]
    if forced not in STACKS:
        sys.exit(f"error: MGNM_TENSORFLOW must be 2.15 or latest. Received: {forced}")
    return FOR_ALL + STACKS[forced]


setup(
    name="mgnm-tf",
    version=VERSION,
    description="MGNM (SIGIR 2022) in TensorFlow 2 / Keras",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    author="the MGNM-TF maintainers",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    package_data={"mgnm_tf": ["py.typed"]},
    packages=find_packages(include=["mgnm_tf", "mgnm_tf.*"]),
    python_requires=">=3.9,<3.14",
    install_requires=requirements(),
    extras_require={
        # selenium drives Chromium through TensorBoard's pages, where there is one.
        "test": [
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "ir-measures>=0.3.3,<0.5",
            "selenium>=4.15,<5",
            FAISS,
            "build>=1,<2",
            "wheel",
        ],
        # The documentation as a site: `make docs`.
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.5,<10",
            "mkdocstrings[python]>=0.26,<2",
        ],
        "check": ["ruff==0.17.6", "mypy>=1.14,<3"],
        "ann": [FAISS],
        "gpu": [
            'tensorflow[and-cuda]>=2.15.1,<2.16; python_version < "3.12"',
            'tensorflow[and-cuda]>=2.21,<2.22; python_version >= "3.12"',
        ],
    },
    entry_points={
        "console_scripts": [
            f"{name} = mgnm_tf.command:main" for name in rooms.commands(HERE)
        ]
    },
    cmdclass={"build_py": rooms.BuildWithRooms, "sdist": rooms.SdistWithCommit},
)
