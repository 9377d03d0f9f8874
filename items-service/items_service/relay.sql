-- lead
-- Take or renew the lead; the fencing token, null while somebody else leads.
SELECT directoire.lead($1, $2);

-- resign
SELECT directoire.resign($1);

-- pending
-- Asked every 20 to 40 ms: takes no transaction id.
SELECT directoire.pending();

-- take_positions
SELECT directoire.take_positions($1, $2);

-- last_position
SELECT position FROM directoire.relay;

-- last_token
SELECT token FROM directoire.relay;

-- take_unfenced
-- For tests that must see the harm: positions after $1, the caller's own count, whoever leads.
WITH taken AS (
    DELETE FROM directoire.outbox
     WHERE id = ANY (ARRAY(SELECT o.id FROM directoire.outbox o ORDER BY o.id LIMIT $2))
    RETURNING id, at),
put AS (
    INSERT INTO directoire.feed (position, id, at)
    SELECT $1 + row_number() OVER (ORDER BY t.id), t.id, t.at FROM taken t
    ON CONFLICT DO NOTHING),
led AS (
    UPDATE directoire.relay r SET position = greatest(r.position, $1 + (SELECT count(*) FROM taken)))
SELECT count(*)::int AS taken FROM taken;

-- seen
-- What a grant rests on, in one snapshot: $1 token, $2 feed position already raised (null: nothing
-- is remembered, so nothing has to be raised), $3 most entries worth looking at one by one.
-- An entry without a position is committed all the same.
WITH lead AS (
    SELECT r.position, r.feed_epoch::text AS feed, r.lease_run AS run, r.floor,
           r.until > clock_timestamp() AS leads,
           coalesce(extract(epoch FROM clock_timestamp() - r.lease_since), 0)::float8 AS noted
      FROM directoire.relay r
     WHERE r.token = $1),
entry AS MATERIALIZED (
    (SELECT f.id, f.at FROM directoire.feed f WHERE f.position > $2 ORDER BY f.position LIMIT $3)
    UNION ALL
    (SELECT o.id, o.at FROM directoire.outbox o, lead
      WHERE o.id > lead.floor AND $2 IS NOT NULL ORDER BY o.id LIMIT $3)),
change AS (
    SELECT DISTINCT a.table_name,
           CASE WHEN s.known THEN
               jsonb_build_object('id', a.before -> 'id', 'group_id', a.before -> 'group_id')
           END AS before,
           CASE WHEN s.known THEN
               jsonb_build_object('id', a.after -> 'id', 'group_id', a.after -> 'group_id')
           END AS after
      FROM entry e
     CROSS JOIN LATERAL (
            SELECT x.table_name, x.action, x.before, x.after FROM public.directus_activity x
             WHERE x.id = e.id AND x."datetime" = e.at LIMIT 1) a  -- one by one, by the index
     CROSS JOIN LATERAL (SELECT a.action <> 'TRUNCATE' AND a.table_name = ANY (
           '{directus_privileges,directus_groups,directus_users}') AS known) s
     WHERE a.action <> 'LOGIN')  -- a sign-in changes nothing that anybody is shown
SELECT lead.feed, lead.position, lead.run, lead.leads, lead.noted,
       (SELECT v.version FROM directoire.versions v WHERE v.name = 'schema') AS schema,
       (SELECT count(*) FROM entry) AS entries,
       coalesce((SELECT json_agg(json_build_array(c.table_name, c.before, c.after))
                   FROM change c), '[]')::text AS changes
  FROM lead;

-- feed_epoch
SELECT feed_epoch::text FROM directoire.relay;

-- name_run
-- Say which server leases: $1 token, $2 run, $3 seconds. Where no lease has been out for so long,
-- nobody has to wait for the old one's to end.
UPDATE directoire.relay
   SET lease_run = $2,
       lease_since = CASE
           WHEN lease_since IS NULL THEN 'epoch'
           WHEN lease_run IS NULL AND lease_since < clock_timestamp() - make_interval(secs => $3)
           THEN lease_since
           ELSE clock_timestamp() END
 WHERE token = $1;

-- name_nobody
-- Say that no lease is granted from now on.
UPDATE directoire.relay
   SET lease_run = NULL, lease_since = clock_timestamp()
 WHERE token = $1 AND lease_run IS NOT NULL;

-- events
-- The next entries to publish, if the token leads: $1 token, $2 most entries, $3 most characters of
-- images (the first comes however large it is), $4 the position sent already, if not yet confirmed.
-- An entry that retention took leaves its position. ``last``: no more were there.
SELECT e.*, r.feed_epoch::text AS feed, e.number = e.found AND e.found < $2 AS last
  FROM directoire.relay r
 CROSS JOIN LATERAL (
    SELECT f.*, a.*, sum(coalesce(length(a.before), 0) + coalesce(length(a.after), 0))
                     OVER (ORDER BY f.position) AS size,
           row_number() OVER (ORDER BY f.position) AS number,
           count(*) OVER () AS found
      FROM (SELECT f.position, f.id, f.at FROM directoire.feed f
             WHERE f.position > greatest(r.confirmed, $4)
             ORDER BY f.position
             LIMIT $2) f
      LEFT JOIN LATERAL (
            SELECT a.table_name, a.row_id, a.action, a.actor, a.request_id, a.quiet,
                   a.before::text AS before, a.after::text AS after
              FROM public.directus_activity a
             WHERE a.id = f.id AND a."datetime" = f.at LIMIT 1) a ON true) e  -- one by one
 WHERE r.token = $1 AND (e.size <= $3 OR e.number = 1)
 ORDER BY e.position;

-- confirm
SELECT directoire.confirm($1);

-- fold_counts
SELECT directoire.fold_counts($1);

-- make_partitions
SELECT directoire.make_partitions();

-- catalogue_mark
-- Another text when any row of the catalogue was put in, replaced or taken away: a replaced row has
-- another transaction. Costs a tenth of the fingerprint, which tells whether what changed matters.
-- (Objects of users begin at 16384, PostgreSQL's FirstNormalObjectId.)
SELECT string_agg(concat(n, ' ', s), ' ') FROM (
    SELECT count(*) AS n, sum(xmin::text::bigint) AS s FROM pg_class WHERE oid >= 16384
    UNION ALL
    SELECT count(*), sum(xmin::text::bigint) FROM pg_attribute WHERE attrelid >= 16384
    UNION ALL
    SELECT count(*), sum(xmin::text::bigint) FROM pg_attrdef WHERE oid >= 16384
    UNION ALL
    SELECT count(*), sum(xmin::text::bigint) FROM pg_index WHERE indexrelid >= 16384
    UNION ALL
    SELECT count(*), sum(xmin::text::bigint) FROM pg_constraint WHERE oid >= 16384
    UNION ALL
    SELECT count(*), sum(xmin::text::bigint) FROM pg_trigger WHERE oid >= 16384) mark;

-- notice_schema
-- Compare the catalogue with the fingerprint; when it changed, note it and raise the schema's version.
WITH now AS (
    SELECT md5(concat(
        (SELECT string_agg(concat_ws(',', c.oid, c.relname, c.relkind, c.relispartition),
                           ';' ORDER BY c.oid)
           FROM pg_class c
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')),
        (SELECT string_agg(concat_ws(',', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod,
                                     a.attnotnull, a.attidentity, a.attgenerated),
                           ';' ORDER BY a.attrelid, a.attnum)
           FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT string_agg(concat_ws(',', d.adrelid, d.adnum, d.adbin), ';'
                           ORDER BY d.adrelid, d.adnum)
           FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
          WHERE c.relnamespace = 'public'::regnamespace),
        (SELECT string_agg(concat_ws(',', i.indexrelid, i.indrelid, i.indisunique, i.indisprimary,
                                     i.indisvalid, i.indkey),
                           ';' ORDER BY i.indexrelid)
           FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
          WHERE c.relnamespace = 'public'::regnamespace),
        (SELECT string_agg(concat_ws(',', k.oid, k.conrelid, k.confrelid, k.contype, k.conkey,
                                     k.confdeltype, k.confupdtype),
                           ';' ORDER BY k.oid)
           FROM pg_constraint k WHERE k.connamespace = 'public'::regnamespace),
        (SELECT string_agg(concat_ws(',', t.oid, t.tgname, t.tgenabled), ';' ORDER BY t.oid)
           FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
          WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal))) AS fingerprint),
changed AS (
    UPDATE directoire.relay r SET fingerprint = now.fingerprint
      FROM now
     WHERE r.token = $1 AND r.fingerprint IS DISTINCT FROM now.fingerprint
    RETURNING 1)
SELECT directoire.bump('schema') FROM changed;

-- lag
-- How far the bus is behind: positions, and the age in seconds of the oldest entry not confirmed.
SELECT r.position - r.confirmed AS positions,
       coalesce((SELECT extract(epoch FROM clock_timestamp() - f.at)
                   FROM directoire.feed f
                  WHERE f.position > r.confirmed
                  ORDER BY f.position LIMIT 1), 0)::float8 AS seconds
  FROM directoire.relay r;
