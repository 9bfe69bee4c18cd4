-- The trace of a notification is found from its answers after its jobs are gone.

alter table notifications add column trace_id bytea;
-- 16 bytes without a pattern: no plan depends on them, and there is nothing to compress.
alter table notifications alter column trace_id set statistics 0, alter column trace_id set storage plain;
comment on column notifications.trace_id is 'The trace that the notification is recorded in; null: it is not recorded.';
