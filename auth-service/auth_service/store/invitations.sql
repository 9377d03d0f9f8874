-- known
-- Which of these addresses ($1, lower case) have an account, and whether it can be signed in to.
SELECT u.id, lower(u.email) AS email, c.user_id IS NOT NULL AS signs_in
  FROM public.directus_users u
  LEFT JOIN directoire.credentials c ON c.user_id = u.id
 WHERE lower(u.email) = ANY ($1::text[]);

-- invited
UPDATE public.directus_users
   SET invite_date = now(), invite_accepted = 0
 WHERE id = ANY ($1::int[])
RETURNING id, email;

-- sender
SELECT coalesce(nullif(trim(concat_ws(' ', first_name, last_name)), ''), email) AS name
  FROM public.directus_users WHERE id = $1;
