"""Where PostgreSQL is, how to reach it, and its schema."""
