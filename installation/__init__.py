"""Makes the environment of a checkout, and the package that is installed."""
