-- A device that an app says takes the place of a device with a user: the old device is set aside when the new one is bound
-- to that user. Not a foreign key: the old device may go first.
alter table devices
  add column replaces_id bigint,                  -- the old device; null: none
  add column replaces_at timestamptz;             -- when the app said so; the link ends 30 days later
