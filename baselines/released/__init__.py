"""The released code's computation, for measuring; no model of the comparison."""
