"""What evaluation needs from the world: protocols whose docstrings are contracts."""
