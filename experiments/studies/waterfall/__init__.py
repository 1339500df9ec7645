"""From the released code's computation to the paper's, a switch at a time."""
