"""Measurements that the README quotes, to be repeated by anybody."""
