"""The voice of a site: what Claude is told of it, and what had better not be in it."""
