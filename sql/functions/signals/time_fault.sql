-- Why nexus.parse_time takes a text for no time: the rule that it breaks.
CREATE OR REPLACE FUNCTION nexus.time_fault(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN value ~* '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?$'
            THEN 'has no offset: write 2026-01-31T09:00:00Z, or +02:00 instead of Z'
        WHEN value !~* '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)$'
            THEN 'must be an ISO 8601 time with an offset, as in 2026-01-31T09:00:00Z'
        WHEN substr(value, 1, 4) COLLATE "C" NOT BETWEEN '1970' AND '2999'
            THEN 'must be of a year from 1970 to 2999'
        WHEN value !~* '(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)$'
            THEN 'has an offset of more than 14:59'
        ELSE 'names a day, or a time of day, that does not exist'
    END
$$;
