-- Autovacuum samples these tables every few seconds while a broadcast runs. How often a device, a byte or a word occurs in a
-- list is nothing that a plan depends on, and finding it out keeps a core busy for a second each time; of the rest few
-- rows tell enough, since rows are found by their keys.
do $$
declare
  tab text;
  col text;
begin
  foreach tab in array array['notifications', 'targets', 'jobs', 'receipts'] loop
    for col in select attname from pg_attribute where attrelid = tab::regclass and attnum > 0 loop
      execute format('alter table %I alter column %I set statistics 10', tab, col);
    end loop;
  end loop;
end $$;
alter table jobs
  alter column devices set statistics 0,
  alter column done    set statistics 0;
alter table receipts
  alter column devices      set statistics 0,
  alter column outcomes     set statistics 0,
  alter column reasons      set statistics 0,
  alter column reason_of    set statistics 0,
  alter column provider_ids set statistics 0;
alter table notifications
  alter column content   set statistics 0,
  alter column metadata  set statistics 0,
  alter column unmatched set statistics 0;

-- As before, and samples as the parent does, which LIKE leaves out.
create or replace procedure create_day(day date) language plpgsql as $$
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
