"""Reading: lists, sums and figures, each of one moment and within a time limit."""
