-- Traces: a job and a fan-out name the span that what follows from them belongs to, so that an attempt hours later on
-- another node is in the same trace.

alter table jobs add column trace bytea;
-- 25 bytes without a pattern: no plan depends on them, and there is nothing to compress.
alter table jobs alter column trace set statistics 0, alter column trace set storage plain;
comment on column jobs.trace is
  'Trace id (16 bytes), span id (8 bytes) and flags (1 byte) of the span that accepted the notification; null: not recorded.';

alter table fan_outs
  add column trace bytea,
  add column page_count int not null default 0;
comment on column fan_outs.trace is 'As jobs.trace; its jobs get the same.';
comment on column fan_outs.page_count is 'Pages that were read.';
