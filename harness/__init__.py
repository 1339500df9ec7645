"""Trains, ranks, measures and records one run."""
