"""Keys that go from one partition to another: splits, merges, and tenants that move.

Guarantees: `records` says what stands in a log of it, `pieces` reads what the source has, `source` gives it out and
hands it over, `target` takes it in, `cleaning` deletes what is not served. Leaves to others: who leads what on a node
(`kvstore.transfers`), when the map switches (control). PROTOCOL "Transfer".
"""
