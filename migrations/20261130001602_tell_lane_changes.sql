-- What the event log has told of lanes: their states, and the credentials that they tried.

create table told_lanes (
  lane_id           int primary key,
  state             smallint not null check (state between 0 and 4),
  reason            text,
  told_at           timestamptz not null,
  is_pending        boolean not null default false,
  credential        bytea,
  credential_result smallint
) with (fillfactor = 50);
comment on table told_lanes is 'What the event log told last of each lane.';
comment on column told_lanes.state is 'As in lane_changes. A lane of which nothing was told counts as running.';
comment on column told_lanes.is_pending is
  'The lane has changed since, within 5 s. The change is told when they are over, unless the lane is as before.';
comment on column told_lanes.credential is 'Fingerprint of the credential that was told last.';
comment on column told_lanes.credential_result is '1 taken, 2 refused.';

-- Tells the event log the state of a lane, at most once in 5 s. A state that the lane left within that time is never told. That
-- a lane runs is told only after the log told that it does not. Nothing is told while no node knows the lane. In an outbox row
-- of its own (kind 6), because a lane is one app's.
create function tell_lane(lane int) returns void language plpgsql as $$
declare
  names constant text[] := array['running', 'throttled', 'broken', 'suspended', 'paused'];
  now_is lane_changes;
  told   told_lanes;
begin
  if not logs_events() then
    return;
  end if;
  select * into now_is from lane_changes where lane_id = lane and ended_at = 'infinity';
  if not found then
    return;
  end if;
  insert into told_lanes (lane_id, state, told_at) values (lane, 0, '-infinity') on conflict do nothing;
  select * into told from told_lanes where lane_id = lane for update;
  if (told.state, told.reason) is not distinct from (now_is.state, now_is.reason) then
    update told_lanes set is_pending = false where lane_id = lane and is_pending;
    return;
  end if;
  if told.told_at > now() - interval '5 seconds' then
    update told_lanes set is_pending = true where lane_id = lane and not is_pending;
    return;
  end if;
  insert into event_outbox (app_id, kind, fact)
  select app_id, 6, convert_to(json_build_object(
           'lane', lane, 'from', names[told.state + 1], 'to', names[now_is.state + 1], 'why', now_is.reason,
           'since', now_is.began_at,
           'held_devices', (select coalesce(sum(due_devices), 0)::bigint from lane_figures f where f.lane_id = lane)
         )::text, 'UTF8')
  from lanes where lane_id = lane;
  update told_lanes set state = now_is.state, reason = now_is.reason, told_at = now(), is_pending = false
  where lane_id = lane;
end $$;

create function tell_changed_lane() returns trigger language plpgsql as $$
begin
  perform tell_lane(new.lane_id);
  return null;
end $$;

-- After the trigger lane_changes, because triggers fire in the order of their names.
create trigger lane_changes_told after update of paused_at, suspended_at, suspended_reason, state on lanes for each row
when ((old.paused_at, old.suspended_at, old.suspended_reason, old.state)
      is distinct from (new.paused_at, new.suspended_at, new.suspended_reason, new.state))
execute function tell_changed_lane();

-- Tells the event log (kind 9) whether a lane's provider took a credential (1) or refused it (2), unless the log told the same last:
-- each node of the lane finds it out.
create function tell_credential(lane int, fingerprint bytea, result smallint, reason text) returns void
language plpgsql as $$
begin
  if not logs_events() then
    return;
  end if;
  insert into told_lanes as told (lane_id, state, told_at, credential, credential_result)
  values (lane, 0, '-infinity', fingerprint, result)
  on conflict (lane_id) do update set credential = excluded.credential, credential_result = excluded.credential_result
  where (told.credential, told.credential_result) is distinct from (excluded.credential, excluded.credential_result);
  if found then
    insert into event_outbox (app_id, kind, fact)
    select app_id, 9, convert_to(json_build_object(
             'lane', lane, 'credential', encode(substr(fingerprint, 1, 8), 'hex'),
             'result', case result when 1 then 'taken' else 'refused' end, 'reason', reason)::text, 'UTF8')
    from lanes where lane_id = lane;
  end if;
end $$;
