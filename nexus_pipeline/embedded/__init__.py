"""A PostgreSQL server from a wheel: the server, its files, and the account that runs it."""
