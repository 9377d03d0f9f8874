-- begin
SELECT pg_try_advisory_xact_lock(hashtextextended($1::int4 || ' ' || $2, 7302));

-- find
SELECT fingerprint, body, headers::text, topics,
       rights = directoire.rights_digest($3) || $4 AS same_rights
  FROM directoire.idempotency
 WHERE user_id = $1 AND key = $2 AND created_at > clock_timestamp() - interval '1 day';

-- keep
INSERT INTO directoire.idempotency AS kept
       (user_id, key, fingerprint, body, headers, topics, rights)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, directoire.rights_digest($8) || $9)
ON CONFLICT (user_id, key) DO UPDATE
   SET fingerprint = excluded.fingerprint, body = excluded.body, headers = excluded.headers,
       topics = excluded.topics, rights = excluded.rights, created_at = clock_timestamp(),
       holder = NULL, leased_until = NULL
 WHERE kept.holder = $7 OR kept.created_at <= clock_timestamp() - interval '1 day'
RETURNING true;

-- clear
DELETE FROM directoire.idempotency WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM directoire.idempotency
     WHERE created_at <= clock_timestamp() - interval '1 day'
     ORDER BY created_at LIMIT 20 FOR UPDATE SKIP LOCKED));

-- lease
INSERT INTO directoire.idempotency AS kept (user_id, key, fingerprint, holder, leased_until)
VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 second')
ON CONFLICT (user_id, key) DO UPDATE
   SET fingerprint = excluded.fingerprint, holder = excluded.holder,
       leased_until = excluded.leased_until, created_at = clock_timestamp(),
       body = NULL, headers = NULL, topics = NULL, rights = NULL
 WHERE (kept.body IS NULL AND kept.leased_until < clock_timestamp())
    OR kept.created_at <= clock_timestamp() - interval '1 day'
RETURNING true;

-- renew
UPDATE directoire.idempotency SET leased_until = clock_timestamp() + $2 * interval '1 second'
 WHERE holder = $1;

-- release
DELETE FROM directoire.idempotency WHERE holder = $1;
