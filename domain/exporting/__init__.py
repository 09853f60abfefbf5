"""What leaves the service as a file, and comes back: whole traces, and the exports that hold them."""
