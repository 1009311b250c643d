"""The adapter to the rest of the web: requests that leave the house, and the guard they pass."""
