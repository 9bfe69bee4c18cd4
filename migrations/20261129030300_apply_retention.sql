-- Contents go some time after their notification is done, quarantined and send-only devices some time after their last use.

-- The lowest UUIDv7 of a time.
create function id_floor(at timestamptz) returns uuid language sql immutable as $$
  select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

-- One row: contents of notifications up to this one are dropped, or are listed in kept_contents.
create table content_cursor (
  one     boolean primary key default true check (one),
  reached uuid not null
);
insert into content_cursor (reached) values ('00000000-0000-0000-0000-000000000000');

-- Notifications that the cursor has passed and that were not done, or not done for long enough.
create table kept_contents (
  notification_id uuid primary key,
  look_at         timestamptz not null            -- when to look again
);
create index kept_contents_due on kept_contents (look_at);

-- Without the day of the last send, which would keep updates of that day from being cheap.
create index devices_sent on devices (device_id) where source = 1;
