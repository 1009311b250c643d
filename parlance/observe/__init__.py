"""What operators see: one log line per event, metrics, readiness. Everyone above the words may log."""
