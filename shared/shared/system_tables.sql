-- lock_administrators
-- Held to the end of the transaction by whoever takes an administrator away: two at once would each
-- still see the other.
SELECT pg_advisory_xact_lock(7302);

-- administrators
-- Active administrators, and which of the given users are in their group, active or not.
SELECT count(*) FILTER (WHERE active = 1 AND NOT id = ANY ($1::int[])) AS remaining,
       count(*) FILTER (WHERE active = 1 AND id = ANY ($1::int[])) AS active_given,
       count(*) FILTER (WHERE id = ANY ($1::int[])) AS given
  FROM public.directus_users
 WHERE "group" = 1;

-- own_words
SELECT email, first_name, last_name FROM public.directus_users WHERE id = $1;

-- set_password
INSERT INTO directoire.credentials (user_id, password_hash)
VALUES ($1, $2)
    ON CONFLICT (user_id)
    DO UPDATE SET password_hash = excluded.password_hash, changed_at = now();

-- end_sign_ins
-- What a user ($1) signed in with, or could by a mail, but for a token ($2) and its session.
WITH sessions AS (
    DELETE FROM directoire.sessions s
     WHERE s.user_id = $1
       AND NOT EXISTS (SELECT FROM directoire.tokens t WHERE t.id = $2 AND t.session_id = s.id)
), links AS (
    DELETE FROM directoire.links WHERE user_id = $1
)
DELETE FROM directoire.tokens WHERE user_id = $1 AND name = 'request-token' AND id <> $2;

-- drop_static_token
DELETE FROM directoire.tokens WHERE user_id = $1 AND name = $2 AND sha256 <> $3;

-- set_static_token
-- No row comes back when the token is somebody else's.
INSERT INTO directoire.tokens (user_id, sha256, name)
VALUES ($1, $3, $2)
    ON CONFLICT (sha256)
    DO UPDATE SET name = excluded.name WHERE tokens.user_id = excluded.user_id
RETURNING id;

-- record_set
-- An entry about a user ($1): a password or a token ($2) was set.
SELECT directoire.record_entry('directus_users', $1::int::text, 'UPDATE', '{}',
       jsonb_build_object('id', $1::int, $2::text, 'set'));

-- first_privileges
-- What a new group may do: see and edit its members' own records, but not what makes them powerful.
INSERT INTO public.directus_privileges
       (group_id, table_name, allow_view, allow_edit, read_field_blacklist, write_field_blacklist)
VALUES ($1, 'directus_users', 1, 1, 'token', 'group,token,active,email')
    ON CONFLICT DO NOTHING;

-- group_names
SELECT id, name FROM public.directus_groups WHERE id = ANY ($1::int[]);

-- manage_again
-- After the status column has changed: triggers and counts follow it.
SELECT directoire.manage(m.tbl)
  FROM directoire.managed m
  JOIN pg_class c ON c.oid = m.tbl
 WHERE c.relname = $1 AND c.relnamespace = 'public'::regnamespace;

-- forget_saved_views
-- Of the bookmarks that go, those of one user ($2) or of all (null); a view that another bookmark of its user leads to stays.
DELETE FROM public.directus_preferences p
 USING public.directus_bookmarks b
 WHERE b.id = ANY ($1::int[])
   AND ($2::int IS NULL OR b."user" = $2)
   AND p."user" = b."user"
   AND p.title = b.title
   AND (b.url = 'tables/' || p.table_name || '/pref/' || p.title
        OR coalesce(b.url, '') NOT LIKE 'tables/%/pref/%')
   AND NOT EXISTS (SELECT FROM public.directus_bookmarks other
                    WHERE other."user" = b."user" AND other.url = b.url
                      AND NOT other.id = ANY ($1::int[]));
