"""How far a cluster goes: what the product's own code without I/O costs with many nodes and partitions, and a model of
what cannot be run here. `python -m scale`, with `loadtest` on the path; `docs/SCALING.md` says what came of it."""
