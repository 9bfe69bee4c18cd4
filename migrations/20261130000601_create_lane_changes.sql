-- The history of each lane: its states, from when to when. It tells which lanes held a notification, and why.

create table lane_changes (
  lane_id  int not null,
  began_at timestamptz not null,
  ended_at timestamptz not null default 'infinity',
  state    smallint not null check (state between 0 and 4),
  reason   text,
  primary key (lane_id, ended_at),
  check (began_at < ended_at)
);
comment on table lane_changes is
  'One row per state that a lane has been in. Rows of a lane do not overlap. Kept as long as the notifications that the lane '
  'may have held.';
comment on column lane_changes.ended_at is 'infinity: the lane is in this state. So a lane has one such row at most.';
comment on column lane_changes.state is '0 running, 1 throttled, 2 broken, 3 suspended, 4 paused.';
comment on column lane_changes.reason is 'The provider''s reason for the state, when it began: printable ASCII.';

-- The state of a lane as a whole, from its row: what an operator decided, or else the worst that living nodes reported. A lane
-- that was just resumed, and that no node has reported since, is running. Null: no node has reported it.
create function lane_state(paused_at timestamptz, suspended_at timestamptz, state smallint) returns smallint
language sql immutable as $$
  select (case when paused_at is not null then 4
               when state = 4 then 0
               when state is null and suspended_at is not null then 3
               else state end)::smallint
$$;

-- A trigger, because several statements change a lane's state. So none of them can miss the history or write it twice: the
-- lane's row is locked, and its old and new values are compared.
create function note_lane_change() returns trigger language plpgsql as $$
declare
  next_state  smallint    := lane_state(new.paused_at, new.suspended_at, new.state);
  began       timestamptz := case when new.paused_at is not null then new.paused_at
                                  when new.state is distinct from old.state and new.state <> 4 then new.state_since
                                  else now() end;
  ended       timestamptz;
  reported    timestamptz;
  next_reason text        := case next_state when 0 then null when 4 then null
                                             when 3 then coalesce(new.suspended_reason, new.state_reason)
                                             else new.state_reason end;
  previous    lane_changes;
begin
  select * into previous from lane_changes where lane_id = new.lane_id and ended_at = 'infinity';
  if found then
    if previous.state = next_state and previous.reason is not distinct from next_reason then
      return null;
    end if;
    -- A lane that was stopped beneath a pause is stopped from the end of the pause on.
    began := greatest(began, previous.began_at);
    ended := began;
    -- Only nodes know of throttles and outages. If all that did are gone, the state ends with the last of their reports, because
    -- nothing is known of the time between that one and the first report of another node.
    if previous.state in (1, 2) then
      select max(r.reported_at) into reported from lane_reports r
      where r.lane_id = new.lane_id and r.state = previous.state and r.reported_at >= previous.began_at
        and not exists (select from lane_reports other join nodes n using (node_id)
                        where other.lane_id = r.lane_id and n.dead_at is null and n.started_at <= r.reported_at
                          and other.reported_at > now() - interval '15 seconds');
      ended := greatest(least(reported, began), previous.began_at);
    end if;
    if ended > previous.began_at then
      update lane_changes set ended_at = ended where lane_id = new.lane_id and ended_at = 'infinity';
    else
      delete from lane_changes where lane_id = new.lane_id and ended_at = 'infinity';
    end if;
  end if;
  if next_state is not null then
    insert into lane_changes (lane_id, began_at, state, reason) values (new.lane_id, began, next_state, next_reason);
  end if;
  return null;
end $$;

create trigger lane_changes after update of paused_at, suspended_at, suspended_reason, state on lanes for each row
when ((old.paused_at, old.suspended_at, old.suspended_reason, old.state)
      is distinct from (new.paused_at, new.suspended_at, new.suspended_reason, new.state))
execute function note_lane_change();
