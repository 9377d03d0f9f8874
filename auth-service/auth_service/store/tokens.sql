-- mint
-- Keeps the digest ($2) of a new token of a user ($1), under a name ($3); scope and end if any.
INSERT INTO directoire.tokens (user_id, sha256, name, scope, expires_at)
VALUES ($1, $2, $3, $4, $5)
RETURNING id;

-- number_of
SELECT count(*) FROM directoire.tokens WHERE user_id = $1 AND session_id IS NULL;

-- list_of
SELECT id,
       name,
       scope,
       to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS created_at,
       to_char(last_used AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used,
       to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS expires_at
  FROM directoire.tokens
 WHERE user_id = $1
   AND session_id IS NULL
 ORDER BY id;

-- revoke
DELETE FROM directoire.tokens
 WHERE user_id = $1
   AND id = $2
RETURNING id;

-- drop_unused
-- Leaves a user ($1) the newest used or made tokens of a name ($2), $3 of them.
DELETE FROM directoire.tokens
 WHERE id IN (
       SELECT id
         FROM directoire.tokens
        WHERE user_id = $1
          AND name = $2
        ORDER BY greatest(last_used, created_at) DESC, id DESC
       OFFSET $3
       )
RETURNING id;

-- resolve
-- The principal behind a token's SHA-256 ($1), with the addresses its group is restricted to.
SELECT users.id AS "user",
       users."group" AS "group",
       tokens.id AS token,
       tokens.scope,
       extract(epoch FROM tokens.expires_at - clock_timestamp())::float8 AS expires_in,
       groups.restrict_to_ip_whitelist AS addresses,
       tokens.last_used IS NULL OR tokens.last_used < now() - interval '1 minute' AS unnoted
  FROM directoire.tokens AS tokens
  JOIN public.directus_users AS users ON users.id = tokens.user_id
  JOIN public.directus_groups AS groups ON groups.id = users."group"
 WHERE tokens.sha256 = $1
   AND users.active = 1
   AND (tokens.expires_at IS NULL OR tokens.expires_at > clock_timestamp());

-- note_use
-- Remembers, to the minute, that a token ($1) was used: the longest unused one goes first.
UPDATE directoire.tokens
   SET last_used = now()
 WHERE id = $1
   AND (last_used IS NULL OR last_used < now() - interval '1 minute');
