-- make_reset
-- A token ($2 its digest) for the active user of an address ($1), good for $3 seconds, and an entry
-- for any address. It takes the place of the tokens asked for before.
WITH found AS (
    SELECT id, email
      FROM public.directus_users
     WHERE lower(email) = lower($1)
       AND active = 1
), former AS (
    DELETE FROM directoire.links
     WHERE user_id = (SELECT id FROM found)
       AND purpose = 'reset'
), made AS (
    INSERT INTO directoire.links (sha256, user_id, purpose, expires_at)
    SELECT $2, id, 'reset', now() + $3::int * interval '1 second'
      FROM found
    RETURNING user_id
), recorded AS (
    SELECT directoire.record_entry('directus_users', (SELECT user_id FROM made)::text, 'LOGIN', '{}',
        jsonb_build_object('id', (SELECT user_id FROM made), 'reset', 'asked'))
)
SELECT email
  FROM recorded
  LEFT JOIN found ON true;

-- project
SELECT max(value) FILTER (WHERE name = 'project_name') AS project,
       max(value) FILTER (WHERE name = 'project_url') AS url
  FROM public.directus_settings
 WHERE collection = 'global';

-- user_of
SELECT user_id FROM directoire.links WHERE sha256 = $1 AND expires_at > now();

-- use
-- Works once, and only for a user who is still active.
DELETE FROM directoire.links AS links
 USING public.directus_users AS users
 WHERE links.sha256 = $1
   AND links.expires_at > now()
   AND users.id = links.user_id
   AND users.active = 1
RETURNING links.user_id;

-- accept
-- Who was invited and has set a password has accepted.
UPDATE public.directus_users SET invite_accepted = 1 WHERE id = $1 AND invite_accepted = 0;
