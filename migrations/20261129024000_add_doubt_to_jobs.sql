-- What a dead node held may have been sent: nothing of it was recorded, and the node did not give it back.
alter table jobs
  add column in_doubt boolean not null default false; -- the present attempt of its devices may have been made already
alter table jobs alter column in_doubt set statistics 10;
