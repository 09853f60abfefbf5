"""Reading requests: bodies, parameters, cursors, with every error of a request at once."""
