"""A PostgreSQL server out of a wheel: the server, its data folder, and the accounts that may enter."""
