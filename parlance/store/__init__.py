"""The adapter to Redis: one client, one file of keys, one file per Lua script."""
