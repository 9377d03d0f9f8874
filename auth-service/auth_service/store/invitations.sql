-- known
-- Who has one of these addresses ($1, lower case), and whether he has yet to set a password;
-- administrators are invited by administrators only ($2).
SELECT u.id,
       lower(u.email) AS email,
       u.active = 1 AND c.user_id IS NULL AND ($2 OR u."group" IS DISTINCT FROM 1) AS invited
  FROM public.directus_users u
  LEFT JOIN directoire.credentials c ON c.user_id = u.id
 WHERE lower(u.email) = ANY ($1::text[]);

-- invite
-- Users ($1) who set a password with these tokens ($2 their digests) within $3 seconds. They take
-- the place of the tokens of former invitations.
WITH former AS (
    DELETE FROM directoire.links WHERE user_id = ANY ($1::int[]) AND purpose = 'invitation'
), made AS (
    INSERT INTO directoire.links (sha256, user_id, purpose, expires_at)
    SELECT digest, id, 'invitation', now() + $3::int * interval '1 second'
      FROM unnest($1::int[], $2::bytea[]) AS t (id, digest)
)
UPDATE public.directus_users
   SET invite_date = now(), invite_accepted = 0
 WHERE id = ANY ($1::int[])
RETURNING id, email;

-- sender
SELECT coalesce(nullif(trim(concat_ws(' ', first_name, last_name)), ''), email) AS name
  FROM public.directus_users WHERE id = $1;
