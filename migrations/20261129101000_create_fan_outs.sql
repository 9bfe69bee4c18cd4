-- Fan-outs: audiences that are resolved page by page.

create table fan_outs (
  notification_id   uuid primary key,
  app_id            smallint not null,
  priority          smallint not null check (priority in (1, 5, 10)),
  due_at            timestamptz not null,
  expires_at        timestamptz not null,
  last_device_id    bigint,
  reached_device_id bigint not null default 0,
  target_count      int not null check (target_count >= 0),
  audience          bytea not null
) with (fillfactor = 50);
comment on table fan_outs is 'One row per notification until its audience is fully resolved.';
comment on column fan_outs.expires_at is 'When the jobs of the fan-out expire.';
comment on column fan_outs.last_device_id is
  'Devices above it did not exist when the first page was read, and are no targets; null: no page was read yet.';
comment on column fan_outs.reached_device_id is 'All devices up to this one have been looked at.';
comment on column fan_outs.target_count is 'Targets found so far, with those that were addressed by name.';
comment on column fan_outs.audience is 'The audience as JSON bytes, so that nothing in it can fail a statement.';
create index fan_outs_waiting on fan_outs (priority, due_at);
