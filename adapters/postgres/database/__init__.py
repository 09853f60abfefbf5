"""What every feature of this adapter uses: transactions, advisory locks, deleted projects."""
