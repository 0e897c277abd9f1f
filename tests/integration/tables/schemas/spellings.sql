-- Names of tables and columns as frameworks and applications spell them: what ages, what seems to, and what must stay.
create table users (id bigint primary key, created_at timestamp, last_seen_at timestamp);
create table "User" (id text primary key, email text, "createdAt" timestamp);
create table accounts (id bigint primary key, expires_at int, updated_at timestamp);
create table orders (id bigint primary key, created_at timestamp, expires_at timestamp);
create table order_events (id bigint primary key, created_at timestamp);
create table payments (id bigint primary key, created_at timestamp, processed_at timestamp);
create table "PaymentEvent" (id bigint primary key, "createdAt" timestamp);
create table invoices (id bigint primary key, created_at timestamp);
create table subscriptions (id bigint primary key, expires_at timestamp);
create table messages (id bigint primary key, created_at timestamp, payload text, status text);
create table posts (id bigint primary key, created_at timestamp); create table comments (id int, created_at timestamp);
create table schema_migrations (version text primary key, inserted_at timestamp);
create table flyway_schema_history (id int primary key, installed_on timestamp, execution_time int);
create table databasechangelog (id text, dateexecuted timestamp, executed_at timestamp);
create table "_prisma_migrations" (id text primary key, finished_at timestamptz, started_at timestamptz);
create table calendar_events (id bigint primary key, title text, starts_at timestamp, created_at timestamp);
create table training_sessions (id bigint primary key, title text, updated_at timestamp, trainer_key int);
create table quiz_attempts (id bigint primary key, score int, started_at timestamp);
create table jobs_board_jobs (id bigint primary key, title text, company text, status text, finished_at timestamp);
create table authtoken_token (key text primary key, created timestamptz);
create table token_denylist (jti text primary key, created_at timestamptz);
create table friend_requests (id bigint primary key, created_at timestamp);
create table price_history (id bigint primary key, created_at timestamp);
create table catalogs (id bigint primary key, created_at timestamp); create table blog (id int, created_at timestamp);
create table api_keys (id bigint primary key, last_used_at timestamp, created_at timestamp);
create table webhooks (id bigint primary key, url text, created_at timestamp);
create table jobs (id bigint primary key, queue text, payload text, attempts int, created_at timestamp);
create table audit_events (id bigint primary key, created_at timestamp);
create table versions (id bigint primary key, item_type text, object text, created_at timestamp);
create table user_consents (id bigint primary key, created_at timestamp);
create table login_sessions (id bigint primary key, token text, expires_at timestamp);
create table "UserProfile" (id bigint primary key, "sessionId" bigint references login_sessions on delete set null);
create table sessions (id text primary key, payload text, last_activity int);
create table "Session" (id text primary key, "sessionToken" text, "userId" text, expires timestamp(3));
create table "VerificationToken" (identifier text, token text, expires timestamp(3));
create table password_resets (email text, token text, created_at timestamp);
create table "cache" (key text primary key, value text, expiration int);
create table failed_jobs (id bigint primary key, queue text, payload text, failed_at timestamp);
create table oauth_access_tokens (id bigint primary key, expires_in int, revoked_at timestamp, created_at timestamp);
create table event_entity (id text primary key, event_time bigint, ip_address text);
create table execution_entity (id bigint primary key, "startedAt" timestamptz, "stoppedAt" timestamptz, "workflowId" int);
create table execution_data (id bigint primary key references execution_entity on delete cascade, data text);
create table webhook_deliveries (id bigint primary key, created_at timestamp);
create table "EmailLog" (id bigint primary key, "createdAt" timestamp);
create table notifications (id bigint primary key, read_at timestamp, created_at timestamp);
create table outbox_messages (id bigint primary key, payload text, processed_at timestamp);
create table shopping_carts (id bigint primary key, updated_at timestamp);
create table cart_items (id bigint primary key, cart_id bigint not null references shopping_carts on delete cascade);


-- 1,000 rows each, twelve hours apart.
do $$ declare t record; columns text; given text; begin
  for t in select c.oid, c.relname from pg_class c where relkind = 'r' and relnamespace = 'public'::regnamespace
    order by c.relname in ('UserProfile', 'execution_data', 'cart_items'), c.relname loop
    select string_agg(quote_ident(attname), ', '), string_agg(case
        when attname in ('id', 'cart_id') and atttypid <> 'text'::regtype then 'i'
        when attname = 'sessionId' then 'null::bigint'
        when atttypid in ('timestamp'::regtype, 'timestamptz'::regtype) then $x$timestamp '2026-03-01' - i * interval '12 h'$x$
        when attname = 'event_time' then $x$(extract(epoch from timestamptz '2026-03-01Z')::bigint - i * 43200) * 1000$x$
        when attname in ('last_activity', 'expiration') then $x$extract(epoch from timestamptz '2026-03-01Z')::int - i * 43200$x$
        when atttypid in ('int'::regtype, 'bigint'::regtype) then '7200' else 'i::text' end, ', ')
      into columns, given from pg_attribute where attrelid = t.oid and attnum > 0;
    execute format('insert into %I (%s) select %s from generate_series(1, 1000) i', t.relname, columns, given);
  end loop; end $$;
