-- An ordinary SaaS application: bigint keys, tables called users, audit_logs, notifications, projects.
create table users (id bigint generated always as identity primary key, email text not null, created_at timestamp not null default now(), deleted_at timestamp);
create index users_deleted on users (deleted_at);
create table audit_logs (id bigint generated always as identity primary key, user_id bigint references users (id) on delete set null, event varchar(80) not null, created_at timestamp not null default now());
create index audit_logs_created on audit_logs (created_at);
create table organizations (id bigint primary key, name text, closed_at timestamptz); create index organizations_closed on organizations (closed_at);
create table projects (id bigint primary key, organization_id bigint not null references organizations (id) on delete cascade); create index projects_org on projects (organization_id);
create table documents (id bigint primary key, project_id bigint not null references projects (id) on delete cascade, created_at timestamptz not null, body text); create index documents_project on documents (project_id);
insert into users (email, created_at, deleted_at) select 'u' || i, timestamp '2025-01-01', case when i % 4 = 0 then timestamp '2026-03-01' - (i % 90) * interval '1 d' end from generate_series(1, 400) i;
insert into audit_logs (user_id, event, created_at) select 1 + i % 400, 'login', timestamp '2026-03-01' - (i % 800) * interval '1 d' from generate_series(1, 1200) i;
insert into organizations select i, 'o' || i, case when i = 1 then timestamptz '2025-12-01Z' end from generate_series(1, 50) i;
insert into projects select i, case when i <= 300 then 1 else 2 + i % 49 end from generate_series(1, 1000) i;
insert into documents select i, 1 + i % 1000, timestamptz '2026-03-01Z' - (i % 60) * interval '1 min', repeat('b', 50) from generate_series(1, 6000) i;
