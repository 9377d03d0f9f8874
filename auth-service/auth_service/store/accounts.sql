-- account
-- Who has an e-mail address ($1, any case), and whether from a place ($2) before; one row, of
-- nulls for nobody. The kinds of hashes that are stored come along, each found by one step through
-- an index (0018), however many hashes there are: they cost the same for any address.
WITH RECURSIVE kinds (kind) AS (
    SELECT min(directoire.kind_of(password_hash)) FROM directoire.credentials
    UNION ALL
    SELECT (SELECT min(directoire.kind_of(password_hash))
              FROM directoire.credentials
             WHERE directoire.kind_of(password_hash) > kinds.kind)
      FROM kinds
     WHERE kinds.kind IS NOT NULL
)
SELECT users.id,
       users.active = 1 AS active,
       credentials.password_hash,
       directoire.kind_of(credentials.password_hash) AS kind,
       credentials.changed_at,
       EXISTS (
           SELECT
             FROM directoire.known_addresses AS known
            WHERE known.user_id = users.id
              AND known.address <<= $2::text::inet
              AND known.seen_at > now() - interval '90 days'
       ) AS known,
       ARRAY (SELECT kind FROM kinds WHERE kind IS NOT NULL) AS kinds
  FROM (VALUES (true)) AS always
  LEFT JOIN public.directus_users AS users ON lower(users.email) = lower($1)
  LEFT JOIN directoire.credentials AS credentials ON credentials.user_id = users.id;

-- lock_user
-- Sign-ins of one user ($1) wait for each other, so that caps hold; only while he is active.
SELECT users.id
  FROM public.directus_users AS users
 WHERE users.id = $1
   AND users.active = 1
   FOR NO KEY UPDATE;

-- lock_account
-- The same for a sign-in with the password that was set at a time ($2): no other one is meanwhile.
SELECT users.id
  FROM public.directus_users AS users
  JOIN directoire.credentials AS credentials ON credentials.user_id = users.id
 WHERE users.id = $1
   AND users.active = 1
   AND credentials.changed_at = $2
   FOR NO KEY UPDATE OF users
   FOR SHARE OF credentials;

-- replace_hash
-- The same password ($1 the user, $2 the old hash), hashed anew ($3).
UPDATE directoire.credentials
   SET password_hash = $3
 WHERE user_id = $1
   AND password_hash = $2;

-- signed_in
-- Notes the sign-in of a user ($1) from an address ($2).
INSERT INTO directoire.presence AS presence (user_id, last_login, last_access, ip)
VALUES ($1, now(), now(), $2)
    ON CONFLICT (user_id) DO UPDATE
   SET last_login = excluded.last_login,
       last_access = excluded.last_access,
       ip = excluded.ip;

-- know_address
-- A place ($2: an address, or a network of IPv6) that a user ($1) signs in from; those not seen for
-- so long are forgotten.
WITH forgotten AS (
    DELETE FROM directoire.known_addresses
     WHERE user_id = $1
       AND address <> $2::text::inet
       AND seen_at < now() - interval '90 days'
)
INSERT INTO directoire.known_addresses AS known (user_id, address)
VALUES ($1, $2::text::inet)
    ON CONFLICT (user_id, address) DO UPDATE
   SET seen_at = now();

-- record
-- An entry about a user ($1): what happened ($2) and its particulars ($3, JSON).
SELECT directoire.record_entry('directus_users', $1, $2, '{}', $3::text::jsonb);

-- record_failure
-- A failed sign-in of a user ($1, null for an unknown address) in a request ($2).
WITH ctx AS (SELECT set_config('directoire.actor', '0', true),
                    set_config('directoire.request', $2, true))
SELECT directoire.record_entry('directus_users', $1, 'LOGIN', '{}',
           jsonb_build_object('id', $1::text::int, 'failed', true))
  FROM ctx;

-- record_slowed
-- An attempt that was refused unseen, on a user ($1, null for none) in a request ($2): $4 says what.
-- Recorded where one of what counted it ($3) was not told of for a minute.
WITH told AS (
    UPDATE directoire.guesses
       SET told_at = clock_timestamp()
     WHERE who = ANY ($3::bytea[])
       AND (told_at IS NULL OR told_at < clock_timestamp() - interval '1 minute')
    RETURNING who
), ctx AS (
    SELECT set_config('directoire.actor', '0', true), set_config('directoire.request', $2, true)
), recorded AS (
    SELECT directoire.record_entry('directus_users', $1, 'LOGIN', '{}',
               jsonb_build_object('id', $1::text::int) || $4::text::jsonb)
      FROM ctx
     WHERE EXISTS (SELECT FROM told)
)
SELECT count(*) FROM recorded;

-- known_addresses
SELECT host(address) AS address FROM directoire.known_addresses WHERE user_id = $1;

-- count
-- One more attempt for each of $1, of which one is forgotten every $2 seconds; not beyond a bound,
-- so that nobody is slowed for longer than the last minutes deserve.
INSERT INTO directoire.guesses AS guesses (who, level, at)
SELECT who, 1, clock_timestamp()
  FROM unnest($1::bytea[]) AS who
 ORDER BY who
    ON CONFLICT (who) DO UPDATE
   SET level = least(100, 1 + greatest(0, guesses.level
               - extract(epoch FROM clock_timestamp() - guesses.at) / $2::float8)),
       at = clock_timestamp()
RETURNING who, level;

-- take_back
UPDATE directoire.guesses
   SET level = greatest(0, level - 1)
 WHERE who = ANY ($1::bytea[]);

-- forgive
DELETE FROM directoire.guesses WHERE who = ANY ($1::bytea[]);
