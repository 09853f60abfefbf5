"""What statements are made of: columns, fragments of SQL, keyset pages, and steps within bounds."""
