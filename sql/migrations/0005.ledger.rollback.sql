DROP TABLE nexus.ledger_seals;
