"""Looks into trained models; no study imports another."""
