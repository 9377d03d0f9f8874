-- own_order
-- The default order of a table's lists, and whose its rows are; as the API stores it.
UPDATE public.directus_tables
   SET sort_column = 'place', user_create_column = 'owner'
 WHERE table_name = $1;
