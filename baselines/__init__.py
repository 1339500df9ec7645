"""The models that MGNM is compared with."""

BASELINES = {}
