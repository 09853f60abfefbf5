"""Redis, or Valkey: what may be lost. Nothing that was accepted lives only here."""
