"""Range scans on a node: what it leads, as one ordered stream, piece by piece.

Guarantees: `capture` says who may answer, `page` merges a page of what was captured, `count` counts it, `items` writes
it as users get it. Leaves to others: pieces of time (`node.scanner`), merging nodes (the gateway).
"""
