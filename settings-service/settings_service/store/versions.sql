-- bump_all
-- Whoever remembers schema, rights or settings finds another version, and loads them anew.
SELECT directoire.bump(name) FROM (VALUES ('schema'), ('rights'), ('settings')) AS v (name);
