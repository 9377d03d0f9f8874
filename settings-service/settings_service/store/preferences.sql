-- preference
-- The row of one user and table; the title is null for the one that counts when none is named.
SELECT id, "user", table_name, title, columns_visible, sort, sort_order, status, search_string,
       list_view_options
  FROM public.directus_preferences
 WHERE "user" = $1 AND table_name = $2 AND title IS NOT DISTINCT FROM $3::text;

-- preference_of
-- The same by id ($3), or by title ($4).
SELECT id, "user", table_name, title, columns_visible, sort, sort_order, status, search_string,
       list_view_options
  FROM public.directus_preferences
 WHERE "user" = $1 AND table_name = $2
   AND CASE WHEN $3::integer IS NULL THEN title = $4::text ELSE id = $3::integer END;

-- titled
SELECT id, "user", table_name, title, columns_visible, sort, sort_order, status, search_string,
       list_view_options
  FROM public.directus_preferences
 WHERE "user" = $1 AND table_name = $2 AND title IS NOT NULL
 ORDER BY title;

-- save
-- What the caller named ($10) replaces what is stored; a new row takes the rest as it is given here.
INSERT INTO public.directus_preferences AS p
       ("user", table_name, title, columns_visible, sort, sort_order, status, search_string,
        list_view_options)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT ("user", table_name, title) DO UPDATE
   SET columns_visible = CASE WHEN 'columns_visible' = ANY ($10::text[])
                              THEN excluded.columns_visible ELSE p.columns_visible END,
       sort = CASE WHEN 'sort' = ANY ($10) THEN excluded.sort ELSE p.sort END,
       sort_order = CASE WHEN 'sort_order' = ANY ($10)
                         THEN excluded.sort_order ELSE p.sort_order END,
       status = CASE WHEN 'status' = ANY ($10) THEN excluded.status ELSE p.status END,
       search_string = CASE WHEN 'search_string' = ANY ($10)
                            THEN excluded.search_string ELSE p.search_string END,
       list_view_options = CASE WHEN 'list_view_options' = ANY ($10)
                                THEN excluded.list_view_options ELSE p.list_view_options END
RETURNING id, "user", table_name, title, columns_visible, sort, sort_order, status, search_string,
          list_view_options;

-- forget
-- By id ($3), or by title ($4): one row of this user and table at most.
DELETE FROM public.directus_preferences
 WHERE "user" = $1 AND table_name = $2
   AND CASE WHEN $3::integer IS NULL THEN title = $4::text ELSE id = $3::integer END
RETURNING id;
