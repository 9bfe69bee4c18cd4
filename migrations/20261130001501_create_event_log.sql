-- The event log: what has happened to notifications, devices, lanes, keys and nodes, in the order in which it became visible.

-- False: this session writes no events, because the configuration keeps none (`[retention] events = "0s"`).
create function logs_events() returns boolean language sql stable as $$
  select current_setting('pushpost.events', true) is distinct from 'off'
$$;

create table event_outbox (
  outbox_id     bigint generated always as identity primary key,
  app_id        smallint not null,
  kind          smallint not null check (kind >= 1),
  at            timestamptz not null default now(),
  notifications uuid[] not null default '{}',
  receipts      bigint[] not null default '{}',
  devices       bigint[] not null default '{}',
  fact          bytea
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = -1,
        autovacuum_vacuum_cost_delay = 0);
comment on table event_outbox is
  'Facts that have no place in the log yet. Each row is written by the transaction of its fact, and deleted by the sequencer.';
comment on column event_outbox.kind is
  '1 receipts, and notifications that may have ended; the other numbers are those of FactKind in src/domain/event.';
comment on column event_outbox.at is 'When the transaction of the fact began.';
comment on column event_outbox.notifications is
  'Of kind 1: the notification of each receipt, then those that may have ended without one.';
comment on column event_outbox.receipts is 'Of kind 1: receipts that hold final outcomes.';
comment on column event_outbox.devices is 'The devices that the fact is about.';
comment on column event_outbox.fact is 'JSON of what no other row holds; null: nothing. It names no user.';

create table event_log (
  position      bigint not null,
  logged_at     timestamptz not null default now(),
  app_id        smallint not null,
  kind          smallint not null,
  at            timestamptz not null,
  notifications uuid[] not null,
  receipts      bigint[] not null,
  devices       bigint[] not null,
  fact          bytea,
  primary key (app_id, position, logged_at)
) partition by range (logged_at);
comment on table event_log is
  'The facts in their order, in partitions by the day of logged_at. Rows are inserted and dropped with their day, never changed.';
comment on column event_log.position is 'Rises by one from row to row, over all apps.';
comment on column event_log.logged_at is
  'When the statement began that inserted the row. A row may have an earlier time than the row before it, by seconds.';
comment on column event_log.kind is 'As in event_outbox; 2: notifications have ended.';
comment on column event_log.notifications is 'Of kind 2: up to 500 notifications that have ended, each of which is one event.';

create table event_head (
  singleton boolean primary key default true check (singleton),
  position  bigint not null
) with (fillfactor = 10);
comment on table event_head is 'One row, the lock of which lets one sequencer run at a time.';
comment on column event_head.position is 'Position of the last row of event_log; after a failover, a million more.';
insert into event_head (position) values (0);

create table event_ending (
  notification_id uuid primary key,
  app_id          smallint not null,
  after_outbox    bigint not null
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = -1,
        autovacuum_vacuum_cost_delay = 0);
comment on table event_ending is
  'Notifications without a job and a fan-out, while rows of event_outbox wait that may be about them.';
comment on column event_ending.after_outbox is 'The notification ends in the log after all rows of event_outbox up to this one.';
create index event_ending_after on event_ending (after_outbox);

create table event_days (
  day       date primary key,
  logged_on date not null
);
comment on table event_days is 'Days of acceptance of the notifications that have ended in the log.';
comment on column event_days.logged_on is 'The last day of the log that has such an end. The day is kept as long as that one.';

-- No plan depends on what occurs in lists. Lists are compressed as those of receipts are.
do $$
declare
  parent text;
  col    text;
begin
  foreach parent in array array['event_outbox', 'event_log'] loop
    for col in select attname from pg_attribute where attrelid = parent::regclass and attnum > 0 loop
      execute format('alter table %I alter column %I set statistics %s', parent, col,
                     case when col in ('notifications', 'receipts', 'devices', 'fact') then 0 else 10 end);
      if col in ('notifications', 'receipts', 'devices', 'fact') then
        begin
          execute format('alter table %I alter column %I set compression lz4', parent, col);
        exception when feature_not_supported then null;
        end;
      end if;
    end loop;
  end loop;
end $$;

-- Makes the partitions of a day: of notifications, targets, receipts, idempotency keys and the event log. Calling it again
-- changes nothing. The caller sets lock_timeout. By LIKE and ATTACH (docs/queue.md#partition-changes).
create or replace procedure create_day(day date) language plpgsql as $$
declare
  parent text;
  child  text;
  col    text;
  target int;
begin
  foreach parent in array array['notifications', 'targets', 'receipts', 'idempotency_keys', 'event_log'] loop
    child := parent || '_' || to_char(day, 'YYYYMMDD');
    if exists (select 1 from pg_inherits where inhrelid = to_regclass(child)) then
      continue;
    end if;
    execute format('create table if not exists %I (like %I including all)', child, parent);
    if parent = 'receipts' then
      execute format('alter table %I alter column receipt_id drop identity if exists', child);
    end if;
    for col, target in
      select attname, attstattarget from pg_attribute where attrelid = parent::regclass and attnum > 0 and attstattarget >= 0
    loop
      execute format('alter table %I alter column %I set statistics %s', child, col, target);
    end loop;
    if parent = 'idempotency_keys' then
      -- A unique index of the parent would have the day in it. Rows are only inserted until the day is dropped, and no plan
      -- depends on statistics of them, so there is nothing to vacuum.
      execute format('create unique index if not exists %I on %I (key_digest, app_id)', child || '_key', child);
      execute format('alter table %I set (autovacuum_enabled = off)', child);
      execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, child, day, day + 1);
    elsif parent = 'event_log' then
      execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, child,
                     day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
    else
      execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                     parent, child, day_floor(day), day_floor(day + 1));
    end if;
  end loop;
end $$;

do $$
begin
  for offset_days in -1..7 loop
    call create_day((now() at time zone 'UTC')::date + offset_days);
  end loop;
end $$;

-- As before, and the log's position too: positions are in the ids of events, which callers keep.
create or replace function skip_identities() returns int language plpgsql as $$
declare
  identity record;
  skipped  int := 0;
begin
  update event_head set position = position + 1000000;
  for identity in
    select pg_get_serial_sequence(attrelid::regclass::text, attname) as sequence, atttypid
    from pg_attribute join pg_class c on c.oid = attrelid
    where attidentity <> '' and not attisdropped and not relispartition and relnamespace = current_schema()::regnamespace
  loop
    perform setval(identity.sequence, case identity.atttypid
      when 'bigint'::regtype then least(nextval(identity.sequence) + 1000000000, 9223372036854775807)
      when 'integer'::regtype then least(nextval(identity.sequence) + 1000000, 2147483647)
      else least(nextval(identity.sequence) + 10, 32767) end);
    skipped := skipped + 1;
  end loop;
  return skipped;
end $$;
