-- A database whose clock is the simulation's, and which notes what must never be committed.

create schema simulated;

-- It stands before pg_catalog in the search path, so that everything that asks for the time gets this one.
create function simulated.clock_timestamp() returns timestamptz language sql stable
    as $$ select current_setting('simulated.now')::timestamptz $$;

alter table nightshift.jobs alter registered_at set default simulated.clock_timestamp();
alter table nightshift.jobs alter accounted_until set default simulated.clock_timestamp();

-- What the jobs do: one row for each batch.
create table simulated.effects (run_id uuid not null, number int not null, epoch int not null, now timestamptz not null);

create table simulated.violations (what text not null, run_id uuid, at timestamptz not null);

create table simulated.grants (run_id uuid, epoch int, process text not null, primary key (run_id, epoch));

create function simulated.violated(what text, run_id uuid) returns void language sql
    as $$ insert into simulated.violations values (what, run_id, simulated.clock_timestamp()) $$;

create function simulated.watch() returns trigger language plpgsql as $$
declare
    worker text := current_setting('simulated.process');
    clock timestamptz := simulated.clock_timestamp();
    ended constant text[] := '{succeeded, failed, skipped, missed, paused, cancelled, planned}';
begin
    if tg_op = 'UPDATE' then
        if new.epoch < old.epoch then
            perform simulated.violated('an epoch went back', new.id);
        end if;
        if new.step = 'work' and old.step = 'work' and (new.position ->> 'done')::int < (old.position ->> 'done')::int then
            perform simulated.violated('a cursor went back', new.id);
        end if;
        if (new.job, new.scheduled_for, new.mode, new.forced) <> (old.job, old.scheduled_for, old.mode, old.forced) then
            perform simulated.violated('a frozen fact has changed', new.id);
        end if;
        if old.state = any(ended) and new.state <> old.state and not (
            old.state in ('failed', 'cancelled') and new.state = 'queued'
            or old.state in ('missed', 'paused', 'skipped') and new.trigger in ('manual', 'backfill')
        ) then
            perform simulated.violated(format('an outcome has changed from %s to %s', old.state, new.state), new.id);
        end if;
    end if;
    if new.state = 'running' and (tg_op = 'INSERT' or new.epoch <> old.epoch) then
        if exists (
            select from nightshift.runs other
             where other.job = new.job and other.id <> new.id and other.mode = 'apply' and new.mode = 'apply'
               and other.state = 'running' and other.lease_until > clock
        ) then
            perform simulated.violated('two runs of a job are at work', new.id);
        end if;
        if tg_op = 'UPDATE' and old.state = 'running' and old.lease_until > clock and not exists (
            select from simulated.grants g where g.run_id = old.id and g.epoch = old.epoch and g.process = worker
        ) then
            perform simulated.violated('a living attempt was taken over', new.id);
        end if;
        insert into simulated.grants values (new.id, new.epoch, worker);
    end if;
    return new;
end $$;
create trigger watch before insert or update on nightshift.runs for each row execute function simulated.watch();

-- What the retention job deletes, and who did it.
create table aged (id bigint generated always as identity primary key, at timestamptz not null);
create index on aged (at);
create table simulated.gone (at timestamptz not null, run_id uuid not null);
create function simulated.note_gone() returns trigger language plpgsql as $$
begin
    insert into simulated.gone values (old.at, current_setting('nightshift.run_id')::uuid);
    return old;
end $$;
create trigger gone after delete on aged for each row execute function simulated.note_gone();
