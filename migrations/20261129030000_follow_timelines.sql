-- After a failover to a server that lagged behind, identities begin where that server stood: numbers that were given to
-- callers and kept in memory would come again and mean something else. So each new connection compares the server's line of
-- history with the one noted here, and skips every identity ahead where they differ (docs/queue.md 28).

-- The server and its timeline, which changes with each promotion and each recovery to a point in time; null where a managed
-- service does not tell. Fails on a standby.
create function server_timeline() returns text language plpgsql as $$
begin
  return (select system_identifier::text from pg_control_system())
         || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
exception when insufficient_privilege or feature_not_supported or undefined_function then
  return null;
end $$;

alter table installation
  add column timeline text;                       -- the one for which identities have been skipped ahead
update installation set timeline = server_timeline();

-- Skips every identity ahead, by more than a server can lag behind: a billion where there is room for it, a million
-- for 32 bits, ten for 16 bits (apps, of which there are few). Returns how many identities there are.
create function skip_identities() returns int language plpgsql as $$
declare
  col     record;
  skipped int := 0;
begin
  for col in
    select pg_get_serial_sequence(attrelid::regclass::text, attname) as sequence, atttypid
    from pg_attribute join pg_class c on c.oid = attrelid
    where attidentity <> '' and not attisdropped and not relispartition and relnamespace = current_schema()::regnamespace
  loop
    perform setval(col.sequence, case col.atttypid
      when 'bigint'::regtype then least(nextval(col.sequence) + 1000000000, 9223372036854775807)
      when 'integer'::regtype then least(nextval(col.sequence) + 1000000, 2147483647)
      else least(nextval(col.sequence) + 10, 32767) end);
    skipped := skipped + 1;
  end loop;
  return skipped;
end $$;
