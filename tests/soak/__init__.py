"""The soak: a database under load that is killed again and again, for as long as one likes."""
