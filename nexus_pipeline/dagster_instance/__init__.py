"""The only room that knows the inside of Dagster: storage, events, resources, home."""
