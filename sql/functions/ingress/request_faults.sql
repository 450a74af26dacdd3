-- The requests of a batch that break a rule, in their order, each with the first rule that it breaks. `position` counts
-- from 1.
CREATE OR REPLACE FUNCTION nexus.request_faults(requests jsonb[])
RETURNS TABLE ("position" integer, field text, reason text)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT r.position::integer, p.fault[1], p.fault[2]
      FROM unnest(requests) WITH ORDINALITY AS r (request, position)
     CROSS JOIN LATERAL nexus.parse_request(r.request) AS p
     WHERE p.fault IS NOT NULL
     ORDER BY r.position
$$;
