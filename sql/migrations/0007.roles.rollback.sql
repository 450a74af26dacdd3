-- The roles stay: they belong to the whole server, and other databases may use them. What they were granted in this
-- database goes with its objects.
DO $$ BEGIN END $$;
