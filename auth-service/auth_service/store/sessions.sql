-- create
INSERT INTO directoire.sessions (user_id, refresh, expires_at)
VALUES ($1, $2, now() + $3::int * interval '1 second')
RETURNING id;

-- drop_expired
DELETE FROM directoire.sessions WHERE user_id = $1 AND expires_at < now();

-- user_of
SELECT user_id FROM directoire.sessions WHERE refresh = $1
UNION ALL
SELECT sessions.user_id
  FROM directoire.spent_refreshes AS spent
  JOIN directoire.sessions AS sessions ON sessions.id = spent.session_id
 WHERE spent.sha256 = $1;

-- turn
-- Two who turn the same token at once: the second finds it turned.
UPDATE directoire.sessions
   SET refresh = $2,
       expires_at = now() + $3::int * interval '1 second'
 WHERE refresh = $1
   AND expires_at > now()
RETURNING id;

-- spend
INSERT INTO directoire.spent_refreshes (sha256, session_id) VALUES ($1, $2);

-- end_family
DELETE FROM directoire.sessions
 WHERE refresh = $1
    OR id IN (SELECT session_id FROM directoire.spent_refreshes WHERE sha256 = $1);

-- end_session_of
DELETE FROM directoire.sessions
 WHERE id = (SELECT session_id FROM directoire.tokens WHERE id = $1);

-- end_signed_in
DELETE FROM directoire.tokens WHERE id = $1 AND name = 'request-token';

-- mint
-- The digest ($3) of an access token of a user ($1) and a session ($2), good for $4 seconds.
INSERT INTO directoire.tokens (user_id, session_id, sha256, name, expires_at)
VALUES ($1, $2, $3, 'access', now() + $4::int * interval '1 second');

-- signing_key
SELECT id, private_key FROM directoire.signing_keys ORDER BY created_at DESC LIMIT 1;

-- add_signing_key
INSERT INTO directoire.signing_keys (id, private_key) VALUES ($1, $2);

-- drop_signing_keys
DELETE FROM directoire.signing_keys;
