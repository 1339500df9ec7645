"""Whether the protocols agree on the models."""
