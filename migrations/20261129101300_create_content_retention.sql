-- Dropping the content of notifications some time after they are done.

create table content_cursor (
  singleton  boolean primary key default true check (singleton),
  reached_id uuid not null
);
comment on table content_cursor is 'One row: how far the retention of contents has come.';
comment on column content_cursor.reached_id is
  'The contents of notifications up to this one are dropped, or the notifications are listed in kept_contents.';
insert into content_cursor (reached_id) values ('00000000-0000-0000-0000-000000000000');

create table kept_contents (
  notification_id uuid primary key,
  recheck_at      timestamptz not null
);
comment on table kept_contents is
  'Notifications that the cursor passed while they were not done, or not done for long enough.';
create index kept_contents_due on kept_contents (recheck_at);
