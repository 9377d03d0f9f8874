-- head
-- The last position, and the first that retention has kept.
SELECT r.position AS head,
       coalesce((SELECT f.position FROM directoire.feed f ORDER BY f.position LIMIT 1),
                r.position + 1) AS first
  FROM directoire.relay r;

-- position
SELECT position FROM directoire.relay;

-- told
-- Which tables the positions above $1 up to $2 tell of, and which callers they put in doubt: a user
-- that is gone, disabled or moved, or whose entry says that no column changed (a token that is void,
-- or nothing: a password was set), and groups whose addresses changed.
SELECT coalesce(array_agg(DISTINCT a.table_name), '{}') AS tables,
       coalesce(array_agg(DISTINCT a.row_id) FILTER (
           WHERE a.table_name = 'directus_users'
             AND (a.action = 'DELETE' OR a.before ?| '{active,group}'
                  OR a.action = 'UPDATE' AND a.before = '{}')), '{}') AS users,
       coalesce(array_agg(DISTINCT a.row_id) FILTER (
           WHERE a.table_name = 'directus_groups'
             AND (a.action = 'DELETE' OR a.before ? 'restrict_to_ip_whitelist')), '{}') AS groups
  FROM directoire.feed f
  JOIN public.directus_activity a ON a.id = f.id AND a."datetime" = f.at
 WHERE f.position > $1 AND f.position <= $2;

-- valid_tokens
-- Of these tokens those that still stand for an active user, with that user's group and their scope.
SELECT t.id, u.id AS user_id, u."group" AS group_id, t.scope
  FROM directoire.tokens t
  JOIN public.directus_users u ON u.id = t.user_id
 WHERE t.id = ANY ($1::bigint[]) AND u.active = 1
   AND (t.expires_at IS NULL OR t.expires_at > now());
