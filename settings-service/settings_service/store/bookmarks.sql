-- add
INSERT INTO public.directus_bookmarks ("user", title, url, icon_class, section)
VALUES ($1, $2, $3, $4, 'search')
RETURNING id;

-- is_own
SELECT EXISTS (SELECT FROM public.directus_bookmarks WHERE id = $1 AND "user" = $2);
