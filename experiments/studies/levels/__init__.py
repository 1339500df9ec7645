"""What the levels of MGNM do."""
