"""The parts of statements: columns, fragments of SQL, keyset pages, and steps within bounds."""
