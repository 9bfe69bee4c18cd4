-- When devices could be sent for the first time in a job: so an answer can tell what a device waited for.

alter table jobs add column found_at timestamptz;
alter table jobs alter column found_at set statistics 10;
comment on column jobs.found_at is
  'When the devices were found, where that was after acceptance; null: at acceptance, or the job is a retry.';

alter table receipts add column ready_at timestamptz;
alter table receipts alter column ready_at set statistics 10;
comment on column receipts.ready_at is
  'From when on the devices could be sent: when they were found, or when the retry was due. Null: when the notification was due.';

-- The value of receipts.ready_at for a job.
create function ready_at(class smallint, due_at timestamptz, found_at timestamptz) returns timestamptz language sql immutable as $$
  select coalesce(found_at, case when class = 1 then due_at end)
$$;
