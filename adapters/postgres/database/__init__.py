"""The shared foundation of the adapter: the pool, transactions, locks, and what statements need."""
