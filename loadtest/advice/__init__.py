"""The tables and plots of docs/SHARDING.md."""
