-- take
-- An export whose file waits for its place in the library, claimed ($1) for a minute.
UPDATE directoire.jobs
   SET claim = $1::text::uuid, claimed_until = now() + interval '1 minute'
 WHERE id = (
       SELECT id FROM directoire.jobs
        WHERE state = 'storing' AND claimed_until < now()
        ORDER BY created_at LIMIT 1
          FOR UPDATE SKIP LOCKED)
RETURNING id::text AS id, collection, user_id, rows, result::text AS result;

-- renew
UPDATE directoire.jobs SET claimed_until = now() + interval '1 minute'
 WHERE id = $1::text::uuid AND claim = $2::text::uuid AND state = 'storing';

-- part
SELECT data FROM directoire.job_parts WHERE job_id = $1::text::uuid AND n = $2;

-- finish
-- The file ($3) is in the library; by the holder of the claim ($2) only.
UPDATE directoire.jobs
   SET state = 'done', finished_at = now(),
       result = result || jsonb_build_object('file', $3::int)
 WHERE id = $1::text::uuid AND claim = $2::text::uuid AND state = 'storing'
RETURNING id;

-- drop_parts
DELETE FROM directoire.job_parts WHERE job_id = $1::text::uuid;

-- tell
SELECT directoire.tell($1, $2, $3);
