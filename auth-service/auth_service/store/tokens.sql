-- account
-- Who signs in with an e-mail address ($1, any case): at most one active user with a password.
SELECT users.id, credentials.password_hash
  FROM public.directus_users AS users
  JOIN directoire.credentials AS credentials ON credentials.user_id = users.id
 WHERE lower(users.email) = lower($1)
   AND users.active = 1;

-- lock_user
-- Sign-ins of one user ($1) wait for each other, so that the cap holds; only while he is active.
SELECT users.id
  FROM public.directus_users AS users
 WHERE users.id = $1
   AND users.active = 1
   FOR NO KEY UPDATE;

-- mint
-- Keeps the digest ($2) of a new token of a user ($1), under a name ($3).
INSERT INTO directoire.tokens (user_id, sha256, name)
VALUES ($1, $2, $3)
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

-- signed_in
-- Notes the sign-in of a user ($1) from an address ($2).
INSERT INTO directoire.presence AS presence (user_id, last_login, last_access, ip)
VALUES ($1, now(), now(), $2)
    ON CONFLICT (user_id) DO UPDATE
   SET last_login = excluded.last_login,
       last_access = excluded.last_access,
       ip = excluded.ip;

-- resolve
-- The principal behind a token's SHA-256 ($1), with the addresses its group is restricted to.
SELECT users.id AS "user",
       users."group" AS "group",
       tokens.id AS token,
       groups.restrict_to_ip_whitelist AS addresses,
       tokens.last_used IS NULL OR tokens.last_used < now() - interval '1 minute' AS unnoted
  FROM directoire.tokens AS tokens
  JOIN public.directus_users AS users ON users.id = tokens.user_id
  JOIN public.directus_groups AS groups ON groups.id = users."group"
 WHERE tokens.sha256 = $1
   AND users.active = 1
   AND (tokens.expires_at IS NULL OR tokens.expires_at > now());

-- note_use
-- Remembers, to the minute, that a token ($1) was used: the longest unused one goes first.
UPDATE directoire.tokens
   SET last_used = now()
 WHERE id = $1
   AND (last_used IS NULL OR last_used < now() - interval '1 minute');
