"""What leaves the service in a file, and comes back: traces, whole, and files of them."""
