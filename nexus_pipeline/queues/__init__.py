"""pgmq with leases: send, claim, settle, retry, dead letters, redrive, counts."""
