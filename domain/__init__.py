"""Values, rules and arithmetic, independent of storage. Imports only the standard library."""
