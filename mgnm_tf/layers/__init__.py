"""The layers of the paper, one a file."""
