-- version
-- The version of schema, rights or settings: raised by triggers with every change.
SELECT version
  FROM directoire.versions
 WHERE name = $1
