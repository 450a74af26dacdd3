DROP VIEW nexus.dead_letters;
DROP TABLE nexus.dead_letter_actions;
