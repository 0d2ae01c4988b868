"""How often a caller may call: GCRA over buckets that a store holds."""
