"""Everything that a schema is made of, as text: what two databases are compared by."""

from __future__ import annotations

from nexus_pipeline.database.connection import Connection, connect

# One line for each object of the schemas public, nexus and pgmq: kind, name and definition. The order of columns
# is left out: an upgrade adds them at the end.
_CATALOG = """
WITH namespaces AS (
    SELECT n.oid, n.nspname, n.nspacl, n.nspowner FROM pg_namespace n WHERE n.nspname IN ('public', 'nexus', 'pgmq')
), relations AS (
    SELECT c.* FROM pg_class c JOIN namespaces n ON n.oid = c.relnamespace
), functions AS (
    SELECT p.* FROM pg_proc p JOIN namespaces n ON n.oid = p.pronamespace
)
SELECT concat_ws(' ', 'schema', n.nspname, n.nspacl::text) AS line FROM namespaces n
UNION ALL
SELECT concat_ws(' ', 'relation', c.oid::regclass, 'kind', c.relkind, c.relpersistence, c.reloptions::text,
                 pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), 'row security', c.relrowsecurity)
  FROM relations c WHERE c.relkind <> 'i'
UNION ALL
SELECT concat_ws(' ', 'column', a.attrelid::regclass, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                 'not null', a.attnotnull, 'identity', a.attidentity, 'generated', a.attgenerated,
                 'default', pg_get_expr(d.adbin, d.adrelid), 'collation', a.attcollation, 'storage', a.attstorage,
                 'statistics', a.attstattarget, a.attoptions::text)
  FROM pg_attribute a
  JOIN relations c ON c.oid = a.attrelid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT concat_ws(' ', 'constraint', k.conrelid::regclass, quote_ident(k.conname), pg_get_constraintdef(k.oid),
                 'validated', k.convalidated)
  FROM pg_constraint k JOIN namespaces n ON n.oid = k.connamespace
UNION ALL
SELECT concat_ws(' ', 'index', pg_get_indexdef(i.indexrelid), 'valid', i.indisvalid)
  FROM pg_index i JOIN relations c ON c.oid = i.indrelid
UNION ALL
SELECT concat_ws(' ', 'statistics', pg_get_statisticsobjdef(s.oid))
  FROM pg_statistic_ext s JOIN namespaces n ON n.oid = s.stxnamespace
UNION ALL
SELECT concat_ws(' ', 'trigger', t.tgrelid::regclass, pg_get_triggerdef(t.oid), 'enabled', t.tgenabled)
  FROM pg_trigger t JOIN relations c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT concat_ws(' ', 'rule', pg_get_ruledef(r.oid)) FROM pg_rewrite r JOIN relations c ON c.oid = r.ev_class
UNION ALL
SELECT concat_ws(' ', 'policy', p.polrelid::regclass, p.polname, p.polcmd, pg_get_expr(p.polqual, p.polrelid))
  FROM pg_policy p JOIN relations c ON c.oid = p.polrelid
UNION ALL
SELECT concat_ws(' ', 'function', pg_get_functiondef(f.oid)) FROM functions f WHERE f.prokind <> 'a'
UNION ALL
SELECT concat_ws(' ', 'type', t.oid::regtype, t.typtype, format_type(t.typbasetype, t.typtypmod),
                 ARRAY(SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)::text)
  FROM pg_type t JOIN namespaces n ON n.oid = t.typnamespace WHERE t.typtype <> 'b' AND t.typrelid = 0
UNION ALL
SELECT concat_ws(' ', 'grant on', c.oid::regclass, g.privilege_type, 'to', g.grantee::regrole, g.is_grantable)
  FROM relations c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g WHERE c.relkind <> 'i'
UNION ALL
SELECT concat_ws(' ', 'grant on', f.oid::regprocedure, g.privilege_type, 'to', g.grantee::regrole, g.is_grantable)
  FROM functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) g
UNION ALL
SELECT concat_ws(' ', 'column grants', a.attrelid::regclass, a.attname, a.attacl::text)
  FROM pg_attribute a JOIN relations c ON c.oid = a.attrelid WHERE a.attacl IS NOT NULL
UNION ALL
SELECT concat_ws(' ', 'comment', c.oid::regclass, quote_ident(a.attname), d.description)
  FROM pg_description d
  JOIN relations c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
UNION ALL
SELECT concat_ws(' ', 'comment', f.oid::regprocedure, d.description)
  FROM pg_description d JOIN functions f ON f.oid = d.objoid AND d.classoid = 'pg_proc'::regclass
UNION ALL
SELECT concat_ws(' ', 'extension', e.extname, e.extversion) FROM pg_extension e
"""


def catalog(connection: Connection) -> set[str]:
    """The definition of every object in the schemas that the project makes or uses."""
    connection.execute("SET search_path = pg_catalog")  # so that every name is written with its schema
    lines = {line for (line,) in connection.execute(_CATALOG).fetchall()}
    connection.execute("RESET search_path")
    return lines


def catalog_of(url: str) -> set[str]:
    """The catalog of the database at that URL."""
    with connect(url) as connection:
        return catalog(connection)
