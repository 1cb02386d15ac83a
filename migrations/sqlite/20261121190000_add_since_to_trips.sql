-- A trip of an app holds all that is said about it, but what broke long before does not keep the trip from being over.

-- What counts from this instant or later decides whether the trip is over: the window before it tripped.
ALTER TABLE auditor_trips ADD COLUMN since integer NOT NULL DEFAULT 0;
UPDATE auditor_trips SET since = tripped_at - 86400000000;
