"""What a node knows of how hot its partitions are, and where a hot or large one is best cut."""
