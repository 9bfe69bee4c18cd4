-- Audiences that are found page by page (docs/queue.md 17).
-- Lock order of transactions that lock rows of several tables: fan_outs, notifications, jobs, devices, the rest.

create table fan_outs (
  notification_id uuid primary key,
  app_id          smallint not null,
  priority        smallint not null,
  due_at          timestamptz not null,
  expires_at      timestamptz not null,           -- of its jobs
  last_device     bigint,                         -- devices after it did not exist when the first page was read; null: none was yet
  reached         bigint not null default 0,      -- the devices up to this one have been looked at
  targets         int not null,                   -- found so far, with those that were addressed by name
  audience        bytea not null                  -- who else is in it: JSON, so that nothing in it can fail a statement
) with (fillfactor = 50);
create index fan_outs_waiting on fan_outs (priority, due_at);
