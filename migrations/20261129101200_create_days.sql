-- The daily partitions of notifications, targets and receipts.

-- Makes the three partitions of a day. Calling it again changes nothing. The caller sets lock_timeout.
--
-- By LIKE and ATTACH, never by CREATE ... PARTITION OF: that one waits for the snapshots of all other transactions, while all
-- inserts wait for it. LIKE copies indexes, checks, comments and compression, but no statistics targets.
create procedure create_day(day date) language plpgsql as $$
declare
  parent text;
  child  text;
  col    text;
  target int;
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
    for col, target in
      select attname, attstattarget from pg_attribute where attrelid = parent::regclass and attnum > 0 and attstattarget >= 0
    loop
      execute format('alter table %I alter column %I set statistics %s', child, col, target);
    end loop;
    execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                   parent, child, day_floor(day), day_floor(day + 1));
  end loop;
end $$;

-- A day back (clocks near midnight), today, and a week ahead. The leader goes on from there.
do $$
begin
  for offset_days in -1..7 loop
    call create_day((now() at time zone 'UTC')::date + offset_days);
  end loop;
end $$;
