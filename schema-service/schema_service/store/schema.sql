-- begin_ddl
-- One change of the schema at a time; and none waits long for a table that is busy, since everybody
-- else would wait behind it.
SELECT set_config('lock_timeout', '3000', true), pg_advisory_xact_lock(7303);

-- add_table
INSERT INTO public.directus_tables (table_name) VALUES ($1);

-- grant_everything
-- What the group of a table's creator gets (contract 7.1).
INSERT INTO public.directus_privileges
       (table_name, group_id, allow_view, allow_add, allow_edit, allow_delete, allow_alter,
        nav_listed)
VALUES ($1, $2, 2, 1, 2, 2, 1, 1)
    ON CONFLICT (group_id, table_name, coalesce(status_id, 0))
    DO UPDATE SET allow_view = 2, allow_add = 1, allow_edit = 2, allow_delete = 2, allow_alter = 1,
                  nav_listed = 1;

-- manage
SELECT directoire.manage(t), directoire.index_lists(t)
  FROM to_regclass(format('public.%I', $1::text)) t;

-- index_lists
SELECT directoire.index_lists(to_regclass(format('public.%I', $1::text)));

-- unmanage
SELECT directoire.unmanage(to_regclass(format('public.%I', $1::text)));

-- forget_table
-- Metadata, rights and preferences of a table that goes. A table without metadata leaves an entry
-- all the same: the relay has nothing else to tell by.
WITH tables AS (
    DELETE FROM public.directus_tables WHERE table_name = $1 RETURNING 1
),
columns AS (
    DELETE FROM public.directus_columns WHERE table_name = $1 RETURNING 1
),
preferences AS (
    DELETE FROM public.directus_preferences WHERE table_name = $1 RETURNING 1
),
privileges AS (
    DELETE FROM public.directus_privileges WHERE table_name = $1 RETURNING group_id
)
SELECT ARRAY(SELECT DISTINCT group_id FROM privileges) AS groups,
       EXISTS (SELECT FROM tables) AS had_metadata,
       (SELECT count(*) FROM columns) + (SELECT count(*) FROM preferences) AS others;

-- record_schema
-- For a change of the schema that no row of metadata stands for.
SELECT directoire.record_entry('directus_tables', $1, $2, NULL,
                               jsonb_build_object('table_name', $1::text)),
       directoire.bump('schema');

-- forget_column
WITH columns AS (
    DELETE FROM public.directus_columns WHERE table_name = $1 AND column_name = $2 RETURNING 1
),
tables AS (
    UPDATE public.directus_tables
       SET user_create_column = nullif(user_create_column, $2),
           user_update_column = nullif(user_update_column, $2),
           date_create_column = nullif(date_create_column, $2),
           date_update_column = nullif(date_update_column, $2),
           sort_column = nullif(sort_column, $2),
           status_column = nullif(status_column, $2),
           primary_column = nullif(primary_column, $2)
     WHERE table_name = $1
       AND $2 IN (user_create_column, user_update_column, date_create_column, date_update_column,
                  sort_column, status_column, primary_column)
    RETURNING 1
),
privileges AS (
    UPDATE public.directus_privileges
       SET read_field_blacklist =
               array_to_string(array_remove(string_to_array(read_field_blacklist, ','), $2), ','),
           write_field_blacklist =
               array_to_string(array_remove(string_to_array(write_field_blacklist, ','), $2), ',')
     WHERE table_name = $1
       AND $2 = ANY (string_to_array(
               concat_ws(',', read_field_blacklist, write_field_blacklist), ','))
    RETURNING group_id
)
SELECT ARRAY(SELECT DISTINCT group_id FROM privileges) AS groups,
       EXISTS (SELECT FROM columns) OR EXISTS (SELECT FROM tables) AS had_metadata;

-- counts
-- Rows by status, as they are kept.
SELECT status, n FROM directoire.table_counts($1::oid);

-- preferences
SELECT id, "user", table_name, title, columns_visible, sort, sort_order, status, search_string,
       list_view_options
  FROM public.directus_preferences
 WHERE "user" = $1 AND table_name = $2 AND title IS NULL;

-- privileges_of_group
SELECT id, table_name, group_id, read_field_blacklist, write_field_blacklist, nav_listed,
       status_id, allow_view, allow_add, allow_edit, allow_delete, allow_alter
  FROM public.directus_privileges
 WHERE group_id = $1
 ORDER BY table_name, coalesce(status_id, 0);

-- privilege_by_id
SELECT id, table_name, group_id, read_field_blacklist, write_field_blacklist, nav_listed,
       status_id, allow_view, allow_add, allow_edit, allow_delete, allow_alter
  FROM public.directus_privileges
 WHERE id = $1;

-- group_exists
SELECT EXISTS (SELECT FROM public.directus_groups WHERE id = $1);
