-- count
SELECT count(*) FROM loaded;

-- empty
TRUNCATE loaded;

-- forget
TRUNCATE directoire.outbox;
