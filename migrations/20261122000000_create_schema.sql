-- Clock rule: every stored time is Postgres's own (now()); nodes use their clocks for durations only.
-- Lock order of transactions that lock rows of several tables: notifications, jobs (by id), devices (by id), the rest.

-- One row: the secret behind public device ids and apns-ids. It must survive upgrades, so it is made once, here.
create table installation (
  one        boolean primary key default true check (one),
  key        bytea not null check (length(key) = 32),
  created_at timestamptz not null default now()
);
-- gen_random_uuid() draws 122 bits each from the system's secure source; four of them, hashed, are a 256-bit key.
insert into installation (key)
select sha256(convert_to(string_agg(gen_random_uuid()::text, ''), 'UTF8')) from generate_series(1, 4);

create table apps (
  app_id smallint generated always as identity primary key,
  name   text not null unique
);

-- What operators and nodes must agree upon about a lane. Breaker, throttle and window are each node's own, in memory.
create table lanes (
  lane_id          int generated always as identity primary key,
  app_id           smallint not null references apps,
  platform         smallint not null,             -- 1 apns, 2 fcm
  environment      smallint not null,             -- 0 none (fcm), 1 production, 2 sandbox
  paused_at        timestamptz,                   -- by an admin; survives restarts
  suspended_at     timestamptz,
  suspended_for    bytea,                         -- fingerprint of the credential that was rejected
  suspended_reason text,
  unique (app_id, platform, environment)
);

-- One row per start of a process. The lease is the node's: a job is leased while its node lives.
create table nodes (
  node_id    int generated always as identity primary key,
  name       text not null,
  started_at timestamptz not null default now(),
  beat       bigint not null default 0,           -- counts up; judged by watching it, never by a clock
  dead_at    timestamptz                          -- the row stays for a day, and its jobs are swept all that time
) with (fillfactor = 50);

-- Partitioned by the id, a UUIDv7: one partition per day of acceptance, and the same for targets and receipts.
create table notifications (
  notification_id uuid not null,
  app_id          smallint not null,
  priority        smallint not null,              -- 10 high, 5 normal, 1 low
  created_at      timestamptz not null default now(),
  send_at         timestamptz,                    -- as requested
  due_at          timestamptz not null,           -- send_at, or when it was accepted
  expires_at      timestamptz not null,           -- as the API says it: due_at + ttl
  once            boolean not null default false, -- ttl 0: now or never
  by_user         boolean not null default false, -- has rows in targets that name a user
  targets         int,                            -- null until an audience has been expanded
  cancelled_at    timestamptz,
  label           text,
  metadata        bytea,                          -- JSON; as content
  unmatched       bytea,                          -- JSON: who was addressed in vain; null: nobody
  content         bytea,                          -- the validated request as JSON bytes: nothing in it can fail a statement
  primary key (notification_id)
) partition by range (notification_id);
create index notifications_app on notifications (app_id, notification_id desc);

-- Who was addressed how: only for targets addressed through a user, or with the sender's own reference.
create table targets (
  notification_id uuid not null,
  device_id       bigint not null,
  user_id         text,
  reference       text,
  primary key (notification_id, device_id)
) partition by range (notification_id);

create table jobs (
  job_id          bigint generated always as identity primary key,
  notification_id uuid not null,
  lane_id         int not null,
  priority        smallint not null,
  class           smallint not null default 0,    -- 0 direct, 1 retry, 2 bulk: each its own range of the claim index
  due_at          timestamptz not null,
  expires_at      timestamptz not null,           -- ttl 0: the time by which its attempt must begin
  attempt         smallint not null default 1,    -- which attempt of its devices this is
  unsure          smallint not null default 0,    -- how many of the attempts so far may have been sent without an answer
  lost            smallint not null default 0,    -- times its node died without recording anything of it
  node_id         int,                            -- null: waiting
  ver             int not null default 0,         -- fence: goes up with each claim, release and partial record
  n               smallint not null check (n between 1 and 500),
  reason          text,                           -- the provider's last word about its devices
  devices         bigint[] not null,              -- ascending
  done            bit varying(500)                -- null: none; bit i: devices[i] has left this job
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0);
create index jobs_waiting      on jobs (lane_id, class, priority, due_at, job_id) where node_id is null;
create index jobs_leased       on jobs (node_id, job_id) where node_id is not null;
create index jobs_notification on jobs (notification_id);
create index jobs_expiring     on jobs (expires_at) where node_id is null;

create table receipts (
  receipt_id      bigint generated always as identity,
  notification_id uuid not null,
  job_id          bigint not null,                -- 0: ended when it was accepted
  lane_id         int not null,
  at              timestamptz not null default now(),
  began_at        timestamptz not null default now(), -- when the first attempt in it began
  attempt         smallint not null,
  accepted        smallint not null default 0,    -- final outcomes
  rejected        smallint not null default 0,
  token_dead      smallint not null default 0,
  expired         smallint not null default 0,
  cancelled       smallint not null default 0,
  unknown         smallint not null default 0,
  again           smallint not null default 0,    -- not final: went on to another job
  shape           "char" not null,                -- '1' one device, 'r' a dense range, 'w' wide
  first_device    bigint not null,
  last_device     bigint not null,
  devices         bigint[] not null,              -- ascending
  outcomes        bytea not null,                 -- one byte a device: the status, and bit 7 if it ended without an attempt
  reasons         text[],                         -- the words that occur in this receipt
  reason_of       bytea,                          -- index into reasons plus 1, one byte a device; null when reasons is null
  provider_ids    text[],                         -- FCM's message names; null for APNs, whose ids are derived
  primary key (notification_id, receipt_id),
  check (accepted + rejected + token_dead + expired + cancelled + unknown + again = cardinality(devices)
         and length(outcomes) = cardinality(devices))
) partition by range (notification_id);
create index receipts_one   on receipts (first_device, notification_id) where shape = '1';
create index receipts_range on receipts using gist (int8range(first_device, last_device, '[]')) where shape = 'r';
create index receipts_wide  on receipts using gin (devices) where shape = 'w';

create table devices (
  device_id          bigint generated always as identity primary key,
  app_id             smallint not null,
  platform           smallint not null,           -- 1 apns, 2 fcm
  environment        smallint not null,           -- 0 none (fcm), 1 production, 2 sandbox
  environment_proven boolean not null default false, -- APNs accepted it there: an app's word changes it no more
  kind               smallint not null default 0,
  source             smallint not null default 0, -- 0 registered, 1 send, 2 import
  token              text not null check (length(token) between 1 and 4096),
  token_digest       bytea not null check (length(token_digest) = 16), -- of SHA-256: tokens may exceed what an index row takes
  user_id            text,
  locale             text,
  timezone           text,
  app_version        text,
  created_at         timestamptz not null default now(),
  registered_at      timestamptz,                 -- when the app last handed over the token; null: nobody did, any verdict counts
  quarantined_at     timestamptz,
  quarantine         text,                        -- reason
  evidence_at        timestamptz,                 -- the time that the evidence speaks of: only a later registration brings it back
  quarantine_run     bigint,                      -- which clean-up, so that it can be undone
  last_sent_on       date                         -- source = send: forgotten 30 days later
) with (fillfactor = 90);
-- Not with the environment: a token has one, and which one may be found out later.
create unique index devices_token on devices (app_id, platform, token_digest);
create index devices_user on devices (app_id, user_id) where user_id is not null;
create index devices_live on devices (app_id, device_id) where quarantined_at is null and source <> 1;
-- The condition is always true; it keeps this index from statements that don't repeat it. A plan that is made while the
-- table is empty would else use it for device_id = any(...), which reads all of it once for every id.
create index devices_app on devices (app_id, device_id) where app_id > 0;

create table topics (
  topic_id int generated always as identity primary key,
  app_id   smallint not null,
  name     text not null,
  unique (app_id, name)
);
-- A device's own subscriptions. Users' are rows of their own, which hold for whatever devices the user has.
create table subscriptions (
  topic_id  int not null references topics,
  device_id bigint not null,
  primary key (topic_id, device_id)
);
create index subscriptions_device on subscriptions (device_id);

create table api_keys (
  key_id        uuid primary key,
  app_id        smallint not null references apps,
  name          text,
  secret_digest bytea not null unique,            -- SHA-256 of a 256-bit random secret
  scopes        smallint not null,                -- bits: 1 send, 2 read, 4 devices, 8 register, 16 admin
  created_at    timestamptz not null default now(),
  revoked_at    timestamptz
);

-- How a receipt is found by device: '1' one device, 'r' a dense range, 'w' wide (docs/queue.md 19).
create function shape_of(first_device bigint, last_device bigint, n int) returns "char" language sql immutable as $$
  select case when n = 1 then '1' when last_device - first_device < 16 * n then 'r' else 'w' end::"char"
$$;

-- Bounds of a day's partitions: the lowest UUIDv7 of a day in UTC.
create function day_floor(day date) returns uuid language sql immutable as $$
  select (lpad(to_hex((extract(epoch from day::timestamp at time zone 'UTC') * 1000)::bigint), 12, '0')
          || '00000000000000000000')::uuid
$$;

-- Makes the three partitions of a day. LIKE and ATTACH, never CREATE ... PARTITION OF, which waits for everybody's
-- snapshots while everybody waits for it (docs/queue.md 4). The caller sets lock_timeout. Calling it again is harmless.
create procedure create_day(day date) language plpgsql as $$
declare
  parent text;
  child  text;
begin
  foreach parent in array array['notifications', 'targets', 'receipts'] loop
    child := parent || '_' || to_char(day, 'YYYYMMDD');
    if exists (select 1 from pg_inherits where inhrelid = to_regclass(child)) then
      continue;
    end if;
    execute format('create table if not exists %I (like %I including all)', child, parent);
    if parent = 'receipts' then
      execute format('alter table %I alter column receipt_id drop identity if exists', child);
    end if;
    execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                   parent, child, day_floor(day), day_floor(day + 1));
  end loop;
end $$;

-- Today, a day back (a clock near midnight), and a week ahead; maintenance goes on from there.
do $$
begin
  for offset_days in -1..7 loop
    call create_day((now() at time zone 'UTC')::date + offset_days);
  end loop;
end $$;
