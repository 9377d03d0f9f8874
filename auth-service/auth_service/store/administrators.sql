-- lock
-- Two bootstraps at once make one administrator.
SELECT pg_advisory_xact_lock(hashtext('directoire.administrator'));

-- administrator
-- The active administrator ($1 is the administrators' group) of the lowest id.
SELECT id, email
  FROM public.directus_users
 WHERE "group" = $1
   AND active = 1
 ORDER BY id
 LIMIT 1;

-- user_of
-- The user with an e-mail address ($1, any case).
SELECT id
  FROM public.directus_users
 WHERE lower(email) = lower($1);

-- promote
-- Makes an existing user ($1) an active member of a group ($2).
UPDATE public.directus_users
   SET active = 1, "group" = $2
 WHERE id = $1;

-- create
-- An active user with an e-mail address ($1) in a group ($2).
INSERT INTO public.directus_users (active, first_name, last_name, email, "group")
VALUES (1, 'Admin', 'User', $1, $2)
RETURNING id;

-- forget_password
DELETE FROM directoire.credentials WHERE user_id = $1;

-- set_password
-- The hash ($2) of a user's ($1) password.
INSERT INTO directoire.credentials (user_id, password_hash)
VALUES ($1, $2);

-- forget_resets
DELETE FROM directoire.links
 WHERE user_id = $1
   AND purpose = 'reset'
   AND NOT EXISTS (SELECT FROM directoire.credentials WHERE user_id = $1);

-- make_reset
-- A token ($2 its digest), good for $3 seconds, with which a user ($1) who has no password sets one.
INSERT INTO directoire.links (sha256, user_id, purpose, expires_at)
SELECT $2, $1, 'reset', now() + $3::int * interval '1 second'
 WHERE NOT EXISTS (SELECT FROM directoire.credentials WHERE user_id = $1)
RETURNING user_id;

-- set_token
-- Keeps the digest ($2) of a named ($3) token of a user ($1), in the place of the former one;
-- tells how many went.
WITH former AS (
    DELETE FROM directoire.tokens
     WHERE user_id = $1
       AND name = $3
       AND sha256 <> $2
    RETURNING id
), kept AS (
    INSERT INTO directoire.tokens (user_id, sha256, name)
    VALUES ($1, $2, $3)
        ON CONFLICT (sha256) DO NOTHING
)
SELECT count(*)
  FROM former;
