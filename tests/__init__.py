"""The tests, and what they share."""

from __future__ import annotations

from harness import environment

environment.set_defaults()  # Before anything imports TensorFlow.
