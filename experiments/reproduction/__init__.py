"""All runs and reports that a table or a figure needs."""
