DROP FUNCTION nexus.act_on_dead_letters(text, bigint[], text, integer, text);
DROP VIEW nexus.dead_letters;
DROP TABLE nexus.dead_letter_actions;
