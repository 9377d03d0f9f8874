-- head
-- The last position, and the first that retention has kept.
SELECT r.position AS head,
       coalesce((SELECT f.position FROM directoire.feed f ORDER BY f.position LIMIT 1),
                r.position + 1) AS first
  FROM directoire.relay r;

-- position
SELECT position FROM directoire.relay;

-- told
-- Which tables the positions above $1 up to $2 tell of, and whom they concern as callers. Ended: a
-- user that is gone, disabled or moved, a group whose addresses changed. In doubt: a user of whom an
-- entry says no column changed; that is a token that is void, or nothing (a password or a token set).
SELECT coalesce(array_agg(DISTINCT a.table_name), '{}') AS tables,
       coalesce(array_agg(DISTINCT a.row_id) FILTER (
           WHERE a.table_name = 'directus_users'
             AND (a.action = 'DELETE' OR a.before ?| '{active,group}')), '{}') AS ended,
       coalesce(array_agg(DISTINCT a.row_id) FILTER (
           WHERE a.table_name = 'directus_users'
             AND a.action = 'UPDATE' AND a.before = '{}'), '{}') AS doubted,
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
