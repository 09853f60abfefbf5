"""Words and phrases in the texts of traces: queries, terms of the index, matches."""
