-- Shape of five job queues kept in PostgreSQL: enum states, list partitions by queue, row-level time to live, local time without zone, reserved table names, executions by cascade, event and invocation logs.
create schema hf; create schema boss; create schema hdb;
create table hf."job" ("id" bigserial primary key, "stateid" bigint, "statename" text, "createdat" timestamp not null, "expireat" timestamp);
create index ix_hf_job_expireat on hf."job" ("expireat") include ("id");
create table hf."state" ("id" bigserial primary key, "jobid" bigint not null references hf."job" ("id") on update cascade on delete cascade, "name" text not null, "createdat" timestamp not null, "data" jsonb);
create index ix_hf_state_jobid on hf."state" ("jobid");
create table hf."set" ("id" bigserial primary key, "key" text not null, "score" float8 not null, "value" text not null, "expireat" timestamp, unique ("key", "value"));
create index ix_hf_set_expireat on hf."set" ("expireat");
create table hf."lock" ("resource" text not null unique, "updatecount" int not null default 0, "acquired" timestamp);
create type boss.job_state as enum ('created', 'retry', 'active', 'completed', 'cancelled', 'failed');
create table boss.queue (name text primary key, deletion_seconds int not null);
create table boss.job (id uuid not null default gen_random_uuid(), name text not null, data jsonb, state boss.job_state not null default 'created', deletion_seconds int not null default 604800,
  created_on timestamptz not null default now(), completed_on timestamptz, keep_until timestamptz not null, dead_letter text, primary key (name, id)) partition by list (name);
create table boss.job_common (like boss.job including defaults); alter table boss.job_common add primary key (name, id), add constraint q_fkey foreign key (name) references boss.queue (name) on delete restrict deferrable initially deferred;
alter table boss.job attach partition boss.job_common default;
create table boss.j0a1 (like boss.job including defaults); alter table boss.j0a1 add primary key (name, id), add check (name = 'mail'); alter table boss.job attach partition boss.j0a1 for values in ('mail');
create table boss.warning (id uuid primary key default gen_random_uuid(), type text not null, created_on timestamptz not null default now());
create index warning_i1 on boss.warning (created_on desc);
create type river_job_state as enum ('available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled');
create table river_job (id bigserial primary key, state river_job_state not null default 'available', attempt smallint not null default 0, finalized_at timestamptz, scheduled_at timestamptz not null default now(), args jsonb not null default '{}', errors jsonb[], kind text not null, tags varchar(255)[] not null default '{}', unique_key bytea, unique_states bit(8),
  constraint finalized check ((finalized_at is null and state not in ('cancelled', 'completed', 'discarded')) or (finalized_at is not null and state in ('cancelled', 'completed', 'discarded'))));
create index river_job_state_and_finalized_at_index on river_job (state, finalized_at) where finalized_at is not null;
create unlogged table river_client (id text primary key, updated_at timestamptz not null);
create table sq_jobs (id bigserial primary key, queue_name varchar not null, finished_at timestamp(6), created_at timestamp(6) not null);
create index index_sq_jobs_on_finished_at on sq_jobs (finished_at);
create table sq_ready (id bigserial primary key, job_id bigint not null unique references sq_jobs (id) on delete cascade);
create table sq_failed (id bigserial primary key, job_id bigint not null unique references sq_jobs (id) on delete cascade, error text);
create table hdb.event_log (id text primary key default gen_random_uuid(), trigger_name text not null, payload jsonb not null, delivered boolean not null default false, error boolean not null default false, created_at timestamp default now(), locked timestamptz, next_retry_at timestamp, archived boolean not null default false);
create index event_log_fetch_events on hdb.event_log (locked nulls first, next_retry_at nulls first, created_at) where delivered = 'f' and error = 'f' and archived = 'f';
create table hdb.event_invocation_logs (id text primary key default gen_random_uuid(), trigger_name text, event_id text references hdb.event_log (id), status int, request json, response json, created_at timestamp default now());
create index event_invocation_logs_event_id_idx on hdb.event_invocation_logs (event_id);

insert into hf."job" ("statename", "createdat", "expireat") select 'Succeeded', timestamp '2026-02-01', case when i % 10 = 0 then null else timestamp '2026-03-01 02:00' + (i % 200 - 100) * interval '10 min' end from generate_series(1, 600) i;
insert into hf."state" ("jobid", "name", "createdat") select "id", n, "createdat" from hf."job", unnest(array['Enqueued','Processing','Succeeded']) n;
insert into hf."set" ("key", "score", "value", "expireat") select 'k' || i % 30, i, 'v' || i, timestamp '2026-03-01 02:00' + (i % 200 - 100) * interval '10 min' from generate_series(1, 400) i;
insert into boss.queue values ('mail', 604800), ('a', 60), ('b', 0);
insert into boss.job (name, state, deletion_seconds, created_on, completed_on, keep_until) select (array['mail','a','b'])[1 + i % 3], (array['completed','failed','created'])[1 + i % 7 % 3]::boss.job_state, (array[604800,3600,0])[1 + i % 3], timestamptz '2026-03-01Z' - (i % 30) * interval '1 d',
  case when i % 7 % 3 < 2 then timestamptz '2026-03-01Z' - (i % 30) * interval '1 d' end, timestamptz '2026-03-01Z' + (i % 20 - 10) * interval '1 d' from generate_series(1, 1200) i;
insert into boss.warning (type, created_on) select 't', timestamptz '2026-03-01Z' - (i % 60) * interval '1 d' from generate_series(1, 400) i;
insert into river_job (state, finalized_at, kind) select s::river_job_state, case when s in ('completed', 'cancelled', 'discarded') then timestamptz '2026-03-01Z' - (i % 200) * interval '1 h' end, 'k' from (select i, (array['completed','available','discarded','cancelled'])[1 + i % 4] s from generate_series(1, 1200) i) x;
insert into sq_jobs (queue_name, finished_at, created_at) select 'q', case when i % 5 = 0 then null else timestamp '2026-03-01' - (i % 72) * interval '1 h' end, timestamp '2026-02-01' from generate_series(1, 800) i;
insert into sq_ready (job_id) select id from sq_jobs where finished_at is null; insert into sq_failed (job_id) select id from sq_jobs where id % 50 = 1;
insert into hdb.event_log (id, trigger_name, payload, delivered, created_at) select 'e' || i, 't', '{}', i % 10 <> 0, timestamp '2026-03-01' - (i % 90) * interval '1 d' from generate_series(1, 600) i;
insert into hdb.event_invocation_logs (event_id, status, request, response, created_at) select 'e' || i, 200, '{}', '{}', timestamp '2026-03-01' - (i % 90) * interval '1 d' + interval '2 h' from generate_series(1, 600) i;
