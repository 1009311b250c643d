"""Sites: their form, their files, their origins and their place in the store."""
