-- Notifications and their addressed targets.
--
-- Both tables, and receipts, are partitioned by the notification's id, a UUIDv7: one partition per day of acceptance. So
-- everything about a notification lies in one partition of each, whenever it is recorded.

create table notifications (
  notification_id    uuid not null,
  app_id             smallint not null,
  priority           smallint not null check (priority in (1, 5, 10)),
  created_at         timestamptz not null default now(),
  send_at            timestamptz,
  due_at             timestamptz not null,
  expires_at         timestamptz not null,
  once               boolean not null default false,
  by_user            boolean not null default false,
  target_count       int,
  cancelled_at       timestamptz,
  audience_cancelled boolean not null default false,
  label              text,
  metadata           bytea,
  unmatched          bytea,
  content            bytea,
  primary key (notification_id)
) partition by range (notification_id);
comment on table notifications is 'One row per accepted notification, in partitions by day of acceptance.';
comment on column notifications.priority is '10 high, 5 normal, 1 low.';
comment on column notifications.send_at is 'As the request said it; null: at once.';
comment on column notifications.due_at is 'send_at, or the time of acceptance.';
comment on column notifications.expires_at is 'due_at + ttl.';
comment on column notifications.once is 'The request had a ttl of 0: one attempt, at once or never.';
comment on column notifications.by_user is 'Some targets were addressed through a user: they have rows in targets.';
comment on column notifications.target_count is 'Number of target devices; null while an audience is still being resolved.';
comment on column notifications.cancelled_at is 'When a request cancelled it; null: none did, or it was done before.';
comment on column notifications.audience_cancelled is
  'Cancelled before the whole audience was found: the rest of it never became targets.';
comment on column notifications.metadata is 'JSON, kept and returned.';
comment on column notifications.unmatched is 'JSON: what was addressed in vain; null: nothing.';
comment on column notifications.content is
  'The validated request as JSON bytes, so that nothing in it can fail a statement; null: dropped by retention.';
create index notifications_app on notifications (app_id, notification_id desc);

create table targets (
  notification_id uuid not null,
  device_id       bigint not null,
  user_id         text,
  reference       text,
  platform        text,
  primary key (notification_id, device_id)
) partition by range (notification_id);
comment on table targets is
  'How a device was addressed: only for devices addressed through a user or with a reference of the sender.';
comment on column targets.device_id is 'Below 0: it stands for a token without a device, which the notification rejected.';
comment on column targets.platform is 'The platform of a token without a device, as the request wrote it.';
comment on column targets.user_id is 'The user of the audience that the device was found by.';
comment on column targets.reference is 'The sender''s own references for the device, one a line.';

-- The lowest UUIDv7 of a time. Times before 1970 have none, and get the lowest of all.
create function id_floor(at timestamptz) returns uuid language sql immutable as $$
  select (lpad(to_hex(greatest(0, (extract(epoch from at) * 1000)::bigint)), 12, '0') || '00000000000000000000')::uuid
$$;

-- The lowest UUIDv7 of a day in UTC: the bounds of the day's partitions.
create function day_floor(day date) returns uuid language sql immutable as $$
  select (lpad(to_hex((extract(epoch from day::timestamp at time zone 'UTC') * 1000)::bigint), 12, '0')
          || '00000000000000000000')::uuid
$$;
