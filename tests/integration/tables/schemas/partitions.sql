-- Partitioned shapes: leaves in another schema, statement-level triggers on the parent (loose foreign keys), list by state, sub-partitions, a foreign leaf, plain inheritance.
create schema parts_dynamic;
-- 1. list-partitioned builds; the parent has a statement-level delete trigger with a transition table that records what must be cleaned elsewhere
create table deleted_records (id bigint generated always as identity primary key, fully_qualified_table_name text not null, primary_key_value bigint not null, created_at timestamptz not null default now(), status smallint not null default 1);
create function record_deleted() returns trigger language plpgsql as $$ begin
  insert into deleted_records (fully_qualified_table_name, primary_key_value) select 'public.p_builds', old_table.id from old_table; return null; end $$;
create table p_builds (id bigint not null, partition_id bigint not null, status text, created_at timestamp without time zone, finished_at timestamp without time zone, project_id bigint, primary key (id, partition_id)) partition by list (partition_id);
create table parts_dynamic.builds_100 partition of p_builds for values in (100);
create table parts_dynamic.builds_101 partition of p_builds for values in (101);
create table parts_dynamic.builds_102 partition of p_builds for values in (102);
create index p_builds_finished on p_builds (finished_at);
create trigger p_builds_loose_fk_trigger after delete on p_builds referencing old table as old_table for each statement execute function record_deleted();
insert into p_builds select i, 100 + i % 3, 'success', timestamp '2026-03-01' - (i % 700) * interval '1 d', timestamp '2026-03-01' - (i % 700) * interval '1 d', i % 50 from generate_series(1, 1200) i;
-- 2. monthly web-hook log with sub-partitions by hash, leaves in another schema
create table hook_logs (id bigint not null, web_hook_id integer not null, response_status varchar, created_at timestamp without time zone not null, primary key (id, created_at)) partition by range (created_at);
do $$ declare m date; h int; begin for m in select generate_series(date '2025-09-01', date '2026-03-01', interval '1 month') loop
  execute format('create table parts_dynamic.hook_logs_%s partition of hook_logs for values from (%L) to (%L)' || case when m = date '2026-01-01' then ' partition by hash (id)' else '' end, to_char(m, 'YYYYMM'), m, m + interval '1 month');
  if m = date '2026-01-01' then for h in 0..3 loop execute format('create table parts_dynamic.hook_logs_202601_%s partition of parts_dynamic.hook_logs_202601 for values with (modulus 4, remainder %s)', h, h); end loop; end if; end loop; end $$;
create table hook_logs_default partition of hook_logs default;
create index hook_logs_created on hook_logs (created_at);
insert into hook_logs select i, i % 9, '200', timestamp '2026-03-20' - (i % 220) * interval '1 d' from generate_series(1, 1600) i;
-- 3. a queue partitioned by list of state
create table q_jobs (id bigint not null, state text not null, finished_at timestamptz, archived_at timestamptz, primary key (id, state)) partition by list (state);
create table q_jobs_live partition of q_jobs for values in ('available', 'running');
create table q_jobs_done partition of q_jobs for values in ('completed');
create table q_jobs_archived partition of q_jobs for values in ('archived');
create index q_jobs_finished on q_jobs (finished_at);
insert into q_jobs select i, case when i % 10 = 0 then 'available' else 'completed' end, case when i % 10 = 0 then null else timestamptz '2026-03-01Z' - (i % 60) * interval '1 d' end, null from generate_series(1, 600) i;
-- 4. messages that refer to messages, partitioned by month: "delete what nobody refers to"
create table messages (id bigint not null, parent_id bigint, created_at timestamptz not null, primary key (id, created_at)) partition by range (created_at);
create table messages_2026_01 partition of messages for values from ('2026-01-01Z') to ('2026-02-01Z');
create table messages_2026_02 partition of messages for values from ('2026-02-01Z') to ('2026-03-01Z');
create index messages_created on messages (created_at);
insert into messages select i, null, timestamptz '2026-01-01Z' + i * interval '1 min' from generate_series(1, 180) i;
insert into messages select 100000 + i, i, timestamptz '2026-02-02Z' + i * interval '1 min' from generate_series(1, 180, 2) i;   -- half of January's messages have a reply in February
-- 5. plain inheritance, as older partition managers and loggers have it
create table log_parent (id bigint generated always as identity, logged_at timestamptz not null, line text);
create table log_2025 (check (logged_at < '2026-01-01Z')) inherits (log_parent);
create table log_2026 (check (logged_at >= '2026-01-01Z')) inherits (log_parent);
create index log_2025_at on log_2025 (logged_at); create index log_2026_at on log_2026 (logged_at); create index log_parent_at on log_parent (logged_at);
insert into log_2025 (id, logged_at, line) overriding system value select i, timestamptz '2025-12-31Z' - (i % 300) * interval '1 d', repeat('l', 60) from generate_series(1, 600) i;
insert into log_2026 (id, logged_at, line) overriding system value select 100000 + i, timestamptz '2026-01-01 12:00Z' + (i % 50) * interval '1 d', repeat('l', 60) from generate_series(1, 600) i;
-- 6. a view in front of a table, a view with INSTEAD OF, a rule
create table tbl_events (id bigint primary key, at timestamptz not null, tenant int not null, hidden boolean not null default false);
create index tbl_events_at on tbl_events (at);
insert into tbl_events select i, timestamptz '2026-03-01Z' - (i % 100) * interval '1 d', i % 3 from generate_series(1, 600) i;
create view v_events as select * from tbl_events where not hidden;
create table ruled (id bigint primary key, at timestamptz not null, deleted boolean not null default false);
create index ruled_at on ruled (at);
insert into ruled select i, timestamptz '2026-03-01Z' - (i % 100) * interval '1 d' from generate_series(1, 400) i;
create rule ruled_soft as on delete to ruled do instead update ruled set deleted = true where id = old.id;
create table soft_trg (id bigint primary key, at timestamptz not null, deleted_at timestamptz);
create index soft_trg_at on soft_trg (at);
insert into soft_trg select i, timestamptz '2026-03-01Z' - (i % 100) * interval '1 d' from generate_series(1, 400) i;
create function soft_del() returns trigger language plpgsql as $$ begin update soft_trg set deleted_at = now() where id = old.id; return null; end $$;
create trigger soft_del before delete on soft_trg for each row execute function soft_del();
