-- The brake on mass verdicts, and the one try of a token in Apple's other environment (docs/queue.md 9, 10).

alter table lanes
  add column braked_at     timestamptz,            -- no more tokens are set aside in it; an admin's resume clears this alone
  add column brake_reason  text,                   -- the provider's word that there was too much of
  add column brake_certain boolean not null default false, -- verdicts that leave no doubt are held back too
  add column brake_seen_at timestamptz;            -- when a node last found too much of it

alter table jobs
  add column trial_since timestamptz;              -- null: no trial; else when the attempt began that drew the first verdict
create index jobs_trials on jobs (due_at) where node_id is null and trial_since is not null;

-- What was set aside lately, to bring it back.
create index devices_quarantined on devices (app_id, quarantined_at) where quarantined_at is not null;
