"""The documented commands, and the rooms behind them."""
