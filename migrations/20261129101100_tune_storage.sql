-- Statistics and compression of the large tables, set before the first partitions are made.

-- Autovacuum samples these tables every few seconds while a broadcast runs. No plan depends on how often a device, a byte or
-- a reason occurs in a list, and finding it out takes a core for a second each time: these columns are not sampled. Of the
-- others few rows tell enough, since rows are found by their keys.
do $$
declare
  parent text;
  col    text;
begin
  foreach parent in array array['notifications', 'targets', 'jobs', 'receipts'] loop
    for col in select attname from pg_attribute where attrelid = parent::regclass and attnum > 0 loop
      execute format('alter table %I alter column %I set statistics 10', parent, col);
    end loop;
  end loop;
end $$;
alter table jobs
  alter column devices set statistics 0,
  alter column done    set statistics 0;
alter table receipts
  alter column devices        set statistics 0,
  alter column outcomes       set statistics 0,
  alter column reasons        set statistics 0,
  alter column reason_indexes set statistics 0,
  alter column provider_ids   set statistics 0;
alter table notifications
  alter column content   set statistics 0,
  alter column metadata  set statistics 0,
  alter column unmatched set statistics 0;

-- Compressing lists of devices with pglz, once for the job and once for its receipt, took a quarter of all that Postgres did
-- for a broadcast. With lz4 a list takes no longer than without compression, and becomes a quarter larger than with pglz. A
-- server that was built without lz4 goes on with pglz.
do $$
declare
  parent text;
  col    text;
begin
  for parent, col in
    select attrelid::regclass::text, attname from pg_attribute
    where attrelid in ('jobs'::regclass, 'receipts'::regclass) and attnum > 0 and attstorage = 'x'
  loop
    execute format('alter table %I alter column %I set compression lz4', parent, col);
  end loop;
exception
  when feature_not_supported then
    raise notice 'this server has no lz4: lists are compressed with pglz';
end $$;
