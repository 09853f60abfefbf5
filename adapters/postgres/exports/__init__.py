"""Export files, and the traces that are read for them."""
