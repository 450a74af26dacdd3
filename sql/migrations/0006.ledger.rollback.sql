DROP FUNCTION nexus.ledger(text);
DROP FUNCTION nexus.depth(text, integer);
