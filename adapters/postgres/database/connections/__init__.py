"""Which server to connect to, with which parameters, and what its failures mean."""
