"""Training, evaluation, statistics and reports: the harness behind Table 2."""
