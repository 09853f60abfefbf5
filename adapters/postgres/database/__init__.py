"""The shared foundation of the adapter: the pool, transactions, keyset pages, locks and columns."""
