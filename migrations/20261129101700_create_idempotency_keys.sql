-- Idempotency keys of requests that were accepted: kept for 24 h, in partitions by day (create_day), which are dropped whole.

create table idempotency_keys (
  day             date not null,
  app_id          smallint not null,
  created_at      timestamptz not null,
  target_count    int,
  key_digest      uuid not null,
  request_digest  uuid not null,
  notification_id uuid not null,
  acceptance      bytea
) partition by range (day);
comment on table idempotency_keys is
  'One row per accepted request with an idempotency key, written in the transaction of its notification.';
comment on column idempotency_keys.day is 'The day of created_at in UTC.';
comment on column idempotency_keys.key_digest is 'The first 16 bytes of the SHA-256 of the key.';
comment on column idempotency_keys.request_digest is
  'The first 16 bytes of a SHA-256 over the JSON of the request. Spaces and the order of members do not change it.';
comment on column idempotency_keys.notification_id is 'The notification of the first request with the key.';
comment on column idempotency_keys.target_count is 'The number of targets in the first answer, if acceptance is null.';
comment on column idempotency_keys.acceptance is
  'What the first answer said, as JSON; null: the notification is queued, and everything that was addressed was found.';

-- Stores keys that are free, in the order of their digests, so that transactions that share keys don't deadlock. Returns the
-- notifications with keys that are not free: nothing of them is stored. `stored_at` is the time of the transaction.
--
-- A plain insert: with `on conflict` each row costs twice as much, so that is left to batches in which a key is taken. The error
-- is caught here, so Postgres does not log it. The unique index is that of a day. So keys of the day before are looked up, and
-- transactions near midnight come one after the other, because each could miss keys of another one that began on the other day.
--
-- `possible`: those of `keys` that may be stored on `known_day`, as a node knows since `known_for_s` seconds from the server that started
-- at `known_from`. Only they are looked up, if that is the day before, on this server, and was complete by the present clock: a clock
-- that was ahead when the node read the day, or a failover to another server, makes the knowledge worthless.
create function store_idempotency_keys(
  stored_at timestamptz, apps smallint[], keys uuid[], requests uuid[], notifications uuid[], target_counts int[],
  acceptances bytea[], known_day date, known_from timestamptz, known_for_s float8, possible uuid[]
) returns uuid[] language plpgsql as $$
declare
  today     date := (stored_at at time zone 'UTC')::date;
  other_day date := today - 1;
  sought    uuid[] := keys;
  taken     uuid[] := '{}';
begin
  -- A minute: longer than any of these transactions may take.
  if (stored_at at time zone 'UTC')::time not between '00:01' and '23:59' then
    perform pg_advisory_xact_lock(8103511264574269801);
    if (stored_at at time zone 'UTC')::time > '12:00' then
      other_day := today + 1;
    end if;
  elsif known_day = other_day and known_from = pg_postmaster_start_time()
        and (stored_at - make_interval(secs => known_for_s)) at time zone 'UTC' >= today + interval '2 minutes' then
    sought := coalesce(possible, keys);
  end if;
  -- Two conditions, because a statement that names the table locks all its partitions, also if it reads none.
  if sought <> '{}' then
    if exists (select from idempotency_keys where day in (today - 1, other_day) and key_digest = any(sought)) then
      taken := array(
        select notification from unnest(apps, keys, notifications) as incoming(app, key, notification)
        where exists (
          select from idempotency_keys
          where day in (today - 1, other_day) and key_digest = key and app_id = app
            and created_at > stored_at - interval '24 hours'
          offset 0));
    end if;
  end if;
  begin
    insert into idempotency_keys
      (day, app_id, created_at, target_count, key_digest, request_digest, notification_id, acceptance)
    select today, app, stored_at, target_count, key, request, notification, acceptance
    from (select unnest(apps) as app, unnest(keys) as key, unnest(requests) as request, unnest(notifications) as notification,
                 unnest(target_counts) as target_count, unnest(acceptances) as acceptance) incoming
    where notification <> all(taken)
    order by key, app;
  exception when unique_violation then
    with stored as (
      insert into idempotency_keys
        (day, app_id, created_at, target_count, key_digest, request_digest, notification_id, acceptance)
      select today, app, stored_at, target_count, key, request, notification, acceptance
      from (select unnest(apps) as app, unnest(keys) as key, unnest(requests) as request, unnest(notifications) as notification,
                   unnest(target_counts) as target_count, unnest(acceptances) as acceptance) incoming
      where notification <> all(taken)
      order by key, app
      on conflict do nothing
      returning notification_id)
    select array_agg(notification) into taken
    from unnest(notifications) as incoming(notification)
    where not exists (select from stored where notification_id = notification);
  end;
  return coalesce(taken, '{}');
end $$;
