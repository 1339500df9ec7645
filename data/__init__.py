"""From raw interaction logs to memory-mapped sequences, splits and batches."""
