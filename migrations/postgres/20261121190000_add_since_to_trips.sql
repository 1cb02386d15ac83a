-- A trip of an app holds all that is said about it, but what broke long before does not keep the trip from being over.

ALTER TABLE auditor_trips ADD COLUMN since timestamptz;
UPDATE auditor_trips SET since = tripped_at - interval '1 day';
ALTER TABLE auditor_trips ALTER COLUMN since SET NOT NULL;
COMMENT ON COLUMN auditor_trips.since IS
    'What counts from this instant or later decides whether the trip is over: the window before it tripped.';
