"""What a model reads of a history: order, and whose it is."""
