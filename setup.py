"""Installs `mgnm_tf`; the commands in `data` and `experiments` run from a checkout."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+?)"', (HERE / "mgnm_tf/__init__.py").read_text()
).group(1)

setup(
    name="mgnm-tf",
    version=VERSION,
    description="MGNM (SIGIR 2022) in TensorFlow 2 / Keras",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["mgnm_tf", "mgnm_tf.*"]),
    python_requires=">=3.9,<3.12",
    install_requires=[
        # 2.16 brings Keras 3, under which tensorflow-addons does not import.
        "tensorflow>=2.15.1,<2.16",
        "tensorflow-addons>=0.23,<0.24",  # LazyAdam
        # TensorFlow 2.15 takes no NumPy 2, which newer versions of these need.
        "numpy>=1.26,<2",
        "pandas>=2.1,<2.3",
        "scikit-learn>=1.3,<1.7",
        "scipy>=1.11,<1.16",
        "absl-py>=2",
        "pyarrow>=14,<22",
        "matplotlib>=3.8,<3.11",
        "tqdm>=4.66",
        "requests>=2.31",
        "urllib3>=2.2",  # read1: what has come by now, so that a slow server is noticed
    ],
    extras_require={
        # selenium drives Chromium through TensorBoard's pages, where there is one.
        "test": ["pytest>=8,<10", "ir-measures>=0.3.3,<0.5", "selenium>=4.15,<5"],
        "check": ["ruff==0.17.6", "mypy>=1.14,<3"],
        "gpu": ["tensorflow[and-cuda]>=2.15.1,<2.16"],
    },
)
