DROP TYPE nexus.decision;
DROP TABLE nexus.strategies;
