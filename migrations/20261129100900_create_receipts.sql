-- Receipts: what became of devices, some hundreds in a row.

create table receipts (
  receipt_id      bigint generated always as identity,
  notification_id uuid not null,
  job_id          bigint not null,
  lane_id         int not null,
  recorded_at     timestamptz not null default now(),
  began_at        timestamptz not null default now(),
  attempt         smallint not null check (attempt >= 1),
  accepted        smallint not null default 0,
  rejected        smallint not null default 0,
  token_dead      smallint not null default 0,
  expired         smallint not null default 0,
  cancelled       smallint not null default 0,
  unknown         smallint not null default 0,
  retried         smallint not null default 0,
  shape           "char" not null check (shape in ('1', 'r', 'w')),
  first_device    bigint not null,
  last_device     bigint not null,
  devices         bigint[] not null,
  outcomes        bytea not null,
  reasons         text[],
  reason_indexes  bytea,
  provider_ids    text[],
  last_reason     text,
  primary key (notification_id, receipt_id),
  check (accepted + rejected + token_dead + expired + cancelled + unknown + retried = cardinality(devices)
         and length(outcomes) = cardinality(devices))
) partition by range (notification_id);
comment on table receipts is 'Outcomes of the devices of one job that were recorded together, in partitions by day of acceptance.';
comment on column receipts.job_id is '0: the devices had their outcome when the notification was accepted.';
comment on column receipts.began_at is 'When the first attempt in the receipt began.';
comment on column receipts.accepted is 'Number of devices with this final outcome, as the five after it.';
comment on column receipts.retried is 'Number of devices without a final outcome: they went on to another job.';
comment on column receipts.shape is
  'How the receipt is found by device: 1 one device, r a dense range, w a wide one. Each has an index of its own.';
comment on column receipts.devices is 'Ascending.';
comment on column receipts.outcomes is
  'One byte per device: the status (0 pending, 1 accepted, 2 rejected, 3 token_dead, 4 expired, 5 cancelled, 6 unknown), and '
  'bit 7 if there was no attempt.';
comment on column receipts.reasons is 'The reasons that occur in this receipt, each once.';
comment on column receipts.reason_indexes is
  'One byte per device: place in reasons from 1, or 0 for none; null where reasons is null.';
comment on column receipts.last_reason is
  'The last reason given about the devices before this attempt: that of their job. Null: none was given.';
comment on column receipts.provider_ids is 'FCM''s message names; null for APNs, because its ids are derived.';

create index receipts_one   on receipts (first_device, notification_id) where shape = '1';
create index receipts_range on receipts using gist (int8range(first_device, last_device, '[]')) where shape = 'r';
create index receipts_wide  on receipts using gin (devices) where shape = 'w';

-- The shape of a receipt: a range is dense if it spans fewer than 16 ids per device.
create function shape_of(first_device bigint, last_device bigint, device_count int) returns "char" language sql immutable as $$
  select case when device_count = 1 then '1' when last_device - first_device < 16 * device_count then 'r' else 'w' end::"char"
$$;
