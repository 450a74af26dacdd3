"""What the tests share: servers, databases, processes, and helpers for each room."""
