"""Redis or Valkey. It stores only what may be lost, never the only copy of accepted data."""
