-- The format of a stored audience: in a rolling update a node may meet one that only later versions can read.

alter table fan_outs add column format smallint not null default 0 check (format >= 0);
comment on column fan_outs.format is
  'The format of audience. A node leaves out rows with a number above the one that it knows.';
