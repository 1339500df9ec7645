"""From a finished run to recommendations, exports and indexes."""
