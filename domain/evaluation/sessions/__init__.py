"""Session metrics, which aggregate the signals of the traces of a session."""
