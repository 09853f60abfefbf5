"""What the product does: one verb a class, over ports. Standard library and `domain` only."""
