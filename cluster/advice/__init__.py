"""What each strategy of sharding would do with a sample of keys."""
