-- ext: citext
-- ext: hstore
-- odd ages and keys: nullable age with a condition alone, infinity, text dates, citext, enum, domain, inet / bit / bytea / array keys, reserved names
create table jobs_nullable (id bigint primary key, status text not null, finished_at timestamptz, "order" int);
create index jobs_nullable_finished on jobs_nullable (finished_at);
insert into jobs_nullable select i, case when i % 3 = 0 then 'cancelled' else 'ok' end, case when i % 9 = 0 then null else timestamptz '2026-03-01Z' - (i % 500) * interval '1 h' end, i from generate_series(1, 6000) i;
create table grants_inf (id bigint primary key, expires_at timestamptz not null); create index grants_inf_exp on grants_inf (expires_at);
insert into grants_inf select i, case when i % 5 = 0 then 'infinity' when i % 7 = 0 then '-infinity' when i % 11 = 0 then timestamptz '0044-03-15 BC' else timestamptz '2026-03-01Z' + (i % 200 - 100) * interval '1 d' end from generate_series(1, 600) i;
create table by_day (expires_at timestamptz not null, id bigint not null, primary key (expires_at, id));
insert into by_day select case when i % 5 = 0 then 'infinity' when i % 7 = 0 then '-infinity' when i % 11 = 0 then timestamptz '0044-03-15 BC' else timestamptz '2026-03-01Z' + (i % 200 - 100) * interval '1 d' end, i from generate_series(1, 600) i;
create table text_dates (id bigint primary key, created text, "when" varchar(30)); create index text_dates_created on text_dates (created);
insert into text_dates select i, case when i % 1000 = 0 then '' else to_char(timestamp '2026-03-01' - (i % 500) * interval '1 d', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') end, to_char(date '2026-03-01' - i % 500, 'DD/MM/YYYY') from generate_series(1, 600) i;
create table ci (email citext not null, kind text not null, at timestamptz not null, primary key (email, at)); create index ci_at on ci (at);
insert into ci select case when i % 2 = 0 then 'Bounce-' || i || '@Example.com' else 'u' || i || '@x.org' end, case when i % 4 = 0 then 'a' else 'b' end, timestamptz '2026-03-01Z' - (i % 100) * interval '1 d' from generate_series(1, 400) i;
create domain day_t as date; create type mood as enum ('sad', 'ok');
create table keyed (ip inet not null, flags bit(8) not null, h bytea not null, tags text[] not null, m mood not null, day day_t not null, amount numeric(12,4) not null, ch char(4) not null, ts timestamptz not null, n double precision not null, iv interval not null, primary key (ip, flags, h, tags, m, day, amount, ch, ts, n, iv));
create index keyed_day on keyed (day);
insert into keyed select ('10.0.' || i % 200 || '.' || i % 250)::inet, (i % 256)::bit(8), decode(md5(i::text), 'hex'), array['a', 'x,"' || i], 'sad', date '2026-03-01' - i % 100, i / 3.0, 'ab', timestamptz '2026-03-01Z' - i * interval '1.000001 s', i / 7.0, i * interval '1 s' from generate_series(1, 200) i;
