"""Values as senders wrote them: JSON text that keeps every digit."""
