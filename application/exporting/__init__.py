"""Taking traces out, as a stream or as a file, and putting them back."""
