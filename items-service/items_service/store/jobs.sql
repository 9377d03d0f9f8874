-- create
-- A job ($1) of kind $2 on table $3 for user $4, with arguments $5, in state $6.
INSERT INTO directoire.jobs (id, kind, collection, user_id, arguments, state)
VALUES ($1::text::uuid, $2, $3, $4, $5::text::jsonb, $6);

-- add_part
-- A piece ($2) of its file.
INSERT INTO directoire.job_parts (job_id, n, data) VALUES ($1::text::uuid, $2, $3);

-- drop_parts
DELETE FROM directoire.job_parts WHERE job_id = $1::text::uuid;

-- part
SELECT data FROM directoire.job_parts WHERE job_id = $1::text::uuid AND n = $2;

-- uploaded
-- Its whole file, $2 bytes, is there.
UPDATE directoire.jobs SET state = 'waiting', size = $2
 WHERE id = $1::text::uuid AND state = 'uploading';

-- take
-- The oldest job that nobody works on, claimed ($1) for $2 seconds.
UPDATE directoire.jobs
   SET state = 'running', claim = $1::text::uuid, rows = 0, bytes = 0,
       claimed_until = now() + make_interval(secs => $2),
       started_at = coalesce(started_at, now())
 WHERE id = (
       SELECT id FROM directoire.jobs
        WHERE state = 'waiting' OR state = 'running' AND claimed_until < now()
        ORDER BY created_at LIMIT 1
          FOR UPDATE SKIP LOCKED)
RETURNING id::text AS id, kind, collection, user_id, arguments::text AS arguments, size;

-- renew
-- The claim ($2) holds for $3 seconds more; progress is $4 rows and $5 bytes. No row: it is lost.
UPDATE directoire.jobs
   SET claimed_until = now() + make_interval(secs => $3), rows = $4, bytes = $5
 WHERE id = $1::text::uuid AND claim = $2::text::uuid AND state = 'running'
RETURNING id;

-- finish
-- By the holder of the claim ($2) only: state $3, $4 rows, $5 bytes, result $6, message $7, faults $8.
UPDATE directoire.jobs
   SET state = $3, rows = $4, bytes = $5, result = $6::text::jsonb, message = $7,
       faults = $8::text::jsonb, finished_at = CASE WHEN $3 <> 'storing' THEN now() END,
       claimed_until = now()
 WHERE id = $1::text::uuid AND claim = $2::text::uuid AND state = 'running'
RETURNING id;

-- release
-- Another may go on at once.
UPDATE directoire.jobs SET claimed_until = now()
 WHERE id = $1::text::uuid AND claim = $2::text::uuid AND state = 'running';

-- tell
SELECT directoire.tell($1, $2, $3);

-- cancel
UPDATE directoire.jobs
   SET state = 'cancelled', finished_at = now(), claim = NULL
 WHERE id = $1::text::uuid AND state IN ('uploading', 'waiting', 'running', 'storing')
RETURNING id;

-- clear
-- What uploads that died have left, and jobs of a month ago.
DELETE FROM directoire.jobs
 WHERE state = 'uploading' AND created_at < now() - interval '2 hours'
    OR finished_at < now() - interval '30 days';

-- clear_parts
-- What those who ended a job had no time for.
DELETE FROM directoire.job_parts AS p
 USING directoire.jobs AS j
 WHERE j.id = p.job_id AND j.state IN ('done', 'failed', 'cancelled');

-- shown
-- A job ($1) as its owner sees it.
SELECT id::text AS id, kind, collection, user_id, state, rows, bytes, size,
       result::text AS result, message, faults::text AS faults,
       to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created_at,
       to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS finished_at,
       extract(epoch FROM coalesce(finished_at, now()) - started_at)::float8 AS seconds
  FROM directoire.jobs
 WHERE id = $1::text::uuid;

-- listed
-- The newest jobs of a user ($1).
SELECT id::text AS id, kind, collection, state, rows
  FROM directoire.jobs
 WHERE user_id = $1
 ORDER BY created_at DESC
 LIMIT 100;

-- user
SELECT "group", active FROM public.directus_users WHERE id = $1;

-- position
-- Every change up to this position of the feed is in this snapshot.
SELECT position, feed_epoch::text AS epoch FROM directoire.relay;
