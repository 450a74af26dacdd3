"""Market data, webhooks and manual signals, into the queue."""
