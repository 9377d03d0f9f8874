-- upsert
-- Stores values ($3) under names ($2) of one collection ($1); an equal value is left alone.
INSERT INTO public.directus_settings AS setting (collection, name, value)
SELECT $1, name, value
  FROM unnest($2::text[], $3::text[]) AS given (name, value)
    ON CONFLICT (collection, name) DO UPDATE
   SET value = excluded.value
 WHERE setting.value IS DISTINCT FROM excluded.value;
