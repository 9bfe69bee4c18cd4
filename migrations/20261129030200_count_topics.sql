-- Topics are counted per app, since their number is limited (limits.topics). The count changes in the transactions that
-- make and delete topics, which lock the app's row. Numbers of topics must never run out: each name takes one.
alter table subscriptions alter column topic_id type bigint;
alter table topics alter column topic_id type bigint;
alter table apps add column topic_count int not null default 0;
update apps set topic_count = (select count(*) from topics where topics.app_id = apps.app_id);
