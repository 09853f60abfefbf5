"""What every feature borrows: pool, transactions, keyset pages, health, leader election."""
