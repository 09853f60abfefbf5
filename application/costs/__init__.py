"""What an organization spends, and its monthly budget."""
