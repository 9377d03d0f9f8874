-- tables
-- Every table of the schema public, partitions of another left out. `touches` are the tables a
-- write here may change as well: through foreign keys that cascade or set, or through inheritance.
-- `foreign` says that triggers or rules of others may change anything at all.
WITH relations AS MATERIALIZED (
    SELECT c.oid, c.relname::text AS name, c.relhasrules AS has_rules,
           c.relkind = 'r' AS versioned
      FROM pg_class c
     WHERE c.relnamespace = 'public'::regnamespace
       AND c.relkind IN ('r', 'p')
       AND NOT c.relispartition
),
triggers AS MATERIALIZED (
    -- by sub-select: a join would read all of pg_proc
    SELECT t.tgrelid,
           bool_or(t.tgenabled = 'A' AND (SELECT p.proname = 'record' FROM pg_proc p
                    WHERE p.oid = t.tgfoid AND p.pronamespace = 'directoire'::regnamespace)
           ) AS managed,
           bool_or(t.tgenabled <> 'D' AND (SELECT p.pronamespace <> 'directoire'::regnamespace
                     FROM pg_proc p WHERE p.oid = t.tgfoid)) AS foreign
      FROM pg_trigger t
     WHERE NOT t.tgisinternal
     GROUP BY t.tgrelid
),
edges AS (
    SELECT confrelid AS source, conrelid AS target
      FROM pg_constraint
     WHERE contype = 'f'
       AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
    UNION
    SELECT inhrelid, inhparent FROM pg_inherits
    UNION
    SELECT inhparent, inhrelid FROM pg_inherits
),
touches AS MATERIALIZED (
    SELECT e.source, array_agg(r.name) AS names
      FROM edges e JOIN relations r ON r.oid = e.target
     GROUP BY e.source
),
keys AS MATERIALIZED (
    SELECT i.indrelid, array_agg(a.attname::text) AS names
      FROM pg_index i
     CROSS JOIN unnest(i.indkey) AS n (attnum)
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = n.attnum
     WHERE i.indisprimary
       AND i.indrelid IN (SELECT oid FROM relations)
     GROUP BY i.indrelid
)
SELECT r.oid,
       r.name,
       coalesce(k.names, '{}') AS primary_key,
       coalesce(e.names, '{}') AS touches,
       coalesce(t.managed, false) AS managed,
       coalesce(t.foreign, false) OR r.has_rules AS foreign,
       coalesce(d.comment, o.description, '') AS comment,
       d.hidden, d.single, d.is_junction_table, d.footer, d.primary_column,
       d.user_create_column, d.user_update_column, d.date_create_column, d.date_update_column,
       d.sort_column, d.status_column, d.date_created,
       d.default_status, d.list_view, d.column_groupings, d.filter_column_blacklist,
       d.display_template, d.preview_url, d.require_if_match, r.versioned,
       current_database()::text AS schema_name
  FROM relations r
  LEFT JOIN pg_description o  -- by join: obj_description is a query for each row
         ON o.objoid = r.oid AND o.classoid = 'pg_class'::regclass AND o.objsubid = 0
  LEFT JOIN triggers t ON t.tgrelid = r.oid
  LEFT JOIN touches e ON e.source = r.oid
  LEFT JOIN keys k ON k.indrelid = r.oid
  LEFT JOIN public.directus_tables d ON d.table_name = r.name
 ORDER BY r.name;

-- columns
-- Every column of those tables, with the API's metadata; rows of metadata without a column (oid null)
-- are relations and aliases. A domain is replaced by the type it is made of.
WITH RECURSIVE relations AS MATERIALIZED (
    SELECT c.oid, c.relname::text AS name
      FROM pg_class c
     WHERE c.relnamespace = 'public'::regnamespace
       AND c.relkind IN ('r', 'p')
       AND NOT c.relispartition
),
domains (oid, base, typmod, not_null) AS (
    SELECT oid, typbasetype, typtypmod, typnotnull FROM pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT d.oid, t.typbasetype, greatest(d.typmod, t.typtypmod), d.not_null OR t.typnotnull
      FROM domains d JOIN pg_type t ON t.oid = d.base AND t.typtype = 'd'
),
keys AS MATERIALIZED (
    SELECT i.indrelid,
           i.indkey[n] AS attnum,
           min(CASE WHEN i.indisprimary THEN 1
                    WHEN i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL THEN 2
                    ELSE 3 END) AS rank
      FROM pg_index i
      JOIN relations r ON r.oid = i.indrelid
     CROSS JOIN generate_series(0, i.indnkeyatts - 1) AS n
     WHERE n = 0 OR i.indisprimary
     GROUP BY i.indrelid, i.indkey[n]
),
described AS MATERIALIZED (
    SELECT objoid, objsubid, description
      FROM pg_description
     WHERE objoid = ANY (ARRAY(SELECT oid FROM relations))
       AND classoid = 'pg_class'::regclass AND objsubid > 0
),
types AS MATERIALIZED (
    SELECT t.oid, t.oid AS base, t.typname::text AS pg_type, t.typtype = 'e' AS has_labels,
           NULL::int AS typmod, false AS not_null
      FROM pg_type t
     WHERE t.typtype <> 'd'
     UNION ALL
    SELECT d.oid, t.oid, t.typname::text, t.typtype = 'e', d.typmod, d.not_null
      FROM domains d JOIN pg_type t ON t.oid = d.base AND t.typtype <> 'd'
),
attributes AS MATERIALIZED (
    SELECT a.attrelid AS oid,
           r.name AS table_name,
           a.attname::text AS column_name,
           a.attnum::int AS position,
           t.pg_type,
           coalesce(t.typmod, a.atttypmod) AS typmod,
           CASE WHEN t.has_labels
                THEN (SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum
                       WHERE enumtypid = t.base)::text END AS labels,
           NOT (a.attnotnull OR t.not_null) AS nullable,
           a.attidentity <> '' AS identity,
           a.attgenerated <> '' AS generated,
           CASE WHEN a.atthasdef
                THEN (SELECT pg_get_expr(v.adbin, v.adrelid) FROM pg_attrdef v
                       WHERE v.adrelid = a.attrelid AND v.adnum = a.attnum) END
               AS default_expression,
           CASE k.rank WHEN 1 THEN 'PRI' WHEN 2 THEN 'UNI' WHEN 3 THEN 'MUL' ELSE '' END AS key,
           o.description
      FROM pg_attribute a
      JOIN relations r ON r.oid = a.attrelid
      JOIN types t ON t.oid = a.atttypid
      LEFT JOIN keys k ON k.indrelid = a.attrelid AND k.attnum = a.attnum
      LEFT JOIN described o ON o.objoid = a.attrelid AND o.objsubid = a.attnum
     WHERE a.attrelid = ANY (ARRAY(SELECT oid FROM relations))
       AND a.attnum > 0 AND NOT a.attisdropped
       -- where bytes are kept is the server's own (reading 55)
       AND (r.name, a.attname) <> ('directus_files', 'storage_key')
)
SELECT a.oid,
       coalesce(a.table_name, m.table_name) AS table_name,
       coalesce(a.column_name, m.column_name) AS column_name,
       a.position, a.pg_type, a.typmod, a.labels, a.nullable, a.identity, a.generated,
       a.default_expression, a.key,
       coalesce(nullif(m.comment, ''), a.description, '') AS comment,
       m.data_type, m.char_length, m.ui, m.relationship_type, m.related_table, m.junction_table,
       m.junction_key_left, m.junction_key_right, m.hidden_input, m.hidden_list, m.required,
       m.sort, m.options::text AS options
  FROM attributes a
  FULL JOIN public.directus_columns m
         ON m.table_name = a.table_name AND m.column_name = a.column_name
 ORDER BY table_name, coalesce(m.sort, a.position, 9999), coalesce(a.position, 9999), column_name;
