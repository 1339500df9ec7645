"""MGNM (SIGIR 2022) in TensorFlow 2: layers, the model, the base of all models."""

from __future__ import annotations

__version__ = "0.1.0"
