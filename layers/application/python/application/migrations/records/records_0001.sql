-- The tables that jobs write for themselves and their operators.

create table nightshift.alerts (
    id uuid primary key default gen_random_uuid(),
    rule text not null,
    fingerprint text not null,
    severity text not null check (severity in ('low', 'medium', 'high', 'critical')),
    status text not null default 'open' check (status in ('open', 'acknowledged', 'resolved')),
    occurrences int not null default 1,
    details jsonb not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    notified_at timestamptz,
    acknowledged_at timestamptz,
    resolved_at timestamptz
);
create unique index alerts_open on nightshift.alerts (fingerprint) where status <> 'resolved';
create index alerts_seen on nightshift.alerts (fingerprint, last_seen_at);
create index alerts_untold on nightshift.alerts (rule) where notified_at is null and status <> 'resolved';

create table nightshift.trusted_networks (
    network cidr primary key,
    note text not null
);

create table nightshift.reports (
    id uuid primary key default gen_random_uuid(),
    kind text not null check (kind in ('daily', 'weekly', 'monthly')),
    period_start timestamptz not null,
    period_end timestamptz not null,
    data jsonb not null,
    s3_key text,
    created_at timestamptz not null default now(),
    unique (kind, period_start)
);

create table nightshift.audit_archives (
    id uuid primary key default gen_random_uuid(),
    month date not null,
    part int not null default 1,
    s3_key text not null unique,
    row_count int not null,
    sha256 text not null,
    bytes bigint not null,
    verified_at timestamptz,
    created_at timestamptz not null default now(),
    unique (month, part)
);

create table nightshift.erasure_ledger (
    subject_ref text primary key,
    mode text not null check (mode in ('anonymized', 'deleted')),
    executed_at timestamptz not null
);

create table nightshift.pseudonym_keys (
    id int primary key check (id = 1),
    inner_key bytea not null,
    outer_key bytea not null
);
insert into nightshift.pseudonym_keys (id, inner_key, outer_key)
select
    1,
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());

-- Uses the key twice, inside and outside, as HMAC does. 64 bits are enough to distinguish addresses.
create function nightshift.pseudonym(value text) returns text
    language sql stable strict parallel safe
return (
    select left(encode(sha256(outer_key || sha256(inner_key || convert_to(value, 'UTF8'))), 'hex'), 16)
    from nightshift.pseudonym_keys
);
comment on function nightshift.pseudonym(text) is
    'Stands for an address in alerts and mails: the same for the same address, and of no use to whoever has no access '
    'to this database. The key is drawn by the migration, so no two deployments have the same.';

create table nightshift.unclaimed_objects (
    storage_key text primary key,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null
);


-- Removing personal data from text and JSON.

-- The collation "C" gives the same result in every database, as an IMMUTABLE function must. Letters outside ASCII are
-- then neither space nor punctuation, so addresses with such letters are found, too. After its first character, the
-- local part may contain everything that mail allows without quotes: it is better to mask too much than to leave a piece
-- of an address. The domain's last label does not start with a digit, so package@1.2.3 stays.
create function nightshift.mask_emails(value text) returns text
    language sql immutable strict parallel safe
return regexp_replace(
    value collate "C",
    '("[^"@]+"|[^][:space:][!-/:-@\\^`{-~][^][:space:][()<>@,;:"\\]*)'
    '@([^][:space:][!-,./:-@\\^`{-~]+\.)+[^][:space:][!-@\\^`{-~][^][:space:][!-,./:-@\\^`{-~]*',
    '[email]',
    'g'
);
comment on function nightshift.mask_emails(text) is 'Every e-mail address in the text becomes [email].';

create function nightshift.redact(value jsonb) returns jsonb
    language plpgsql immutable strict parallel safe
as $$
declare
    whole constant text := value;
    kind constant text := jsonb_typeof(value);
begin
    -- Most values hold nothing to remove, nor do most parts of the others, and a look at the text of the whole costs a
    -- fraction of taking it apart. It is a coarse look, by how the keys below end.
    if strpos(whole, '@') = 0 and (
        kind not in ('object', 'array')
        or translate(lower(whole collate "C"), '_- ', '')
            !~ '(email|name|phone|number|mobile|address|street|ip|agent)":'
    ) then
        return value;
    end if;
    case kind
        when 'object' then
            return (
                select coalesce(jsonb_object_agg(key, nightshift.redact(item)), '{}')
                from jsonb_each(value) as entry (key, item)
                where translate(lower(key collate "C"), '_- ', '') not in (
                        'email', 'emailaddress', 'name', 'firstname', 'lastname', 'fullname', 'username',
                        'phone', 'phonenumber', 'mobile', 'address', 'street', 'ip', 'ipaddress', 'useragent'
                    )
                    and (strpos(key, '@') = 0 or nightshift.mask_emails(key) = key)
            );
        when 'array' then
            return (
                select jsonb_agg(nightshift.redact(item) order by position)
                from jsonb_array_elements(value) with ordinality as entry (item, position)
            );
        when 'string' then
            return to_jsonb(nightshift.mask_emails(value #>> '{}'));
        else
            return value;
    end case;
end
$$;
comment on function nightshift.redact(jsonb) is
    'Drops personal keys and keys that hold an e-mail address at any depth, and masks addresses inside strings.';

create function nightshift.mask_address(value text, address text) returns text
    language sql immutable strict parallel safe
return regexp_replace(
    value,
    '(?<![[:alnum:]._%+-])' || regexp_replace(address, '([^[:alnum:]])', '\\\1', 'g') || '(?![[:alnum:]_-]|\.[[:alnum:]])',
    '[email]',
    'gi'
);
comment on function nightshift.mask_address(text, text) is
    'One e-mail address becomes [email] where it stands as a whole: any case, never as a part of a longer address.';

create function nightshift.mask_address(value jsonb, address text) returns jsonb
    language plpgsql immutable strict parallel safe
as $$
begin
    case jsonb_typeof(value)
        when 'object' then
            return (
                select coalesce(jsonb_object_agg(key, nightshift.mask_address(item, address)), '{}')
                from jsonb_each(value) as entry (key, item)
                where nightshift.mask_address(key, address) = key
            );
        when 'array' then
            return (
                select coalesce(jsonb_agg(nightshift.mask_address(item, address) order by position), '[]')
                from jsonb_array_elements(value) with ordinality as entry (item, position)
            );
        when 'string' then
            return to_jsonb(nightshift.mask_address(value #>> '{}', address));
        else
            return value;
    end case;
end
$$;
comment on function nightshift.mask_address(jsonb, text) is
    'Masks one e-mail address inside the strings of a value; a key that holds it is dropped with what it names.';


-- Which file a URL means.

-- A text that cannot be decoded stays as it is: the application must be able to store any text.
create function nightshift.percent_decode(value text) returns text
    language plpgsql immutable strict parallel safe
as $$
begin
    return (
        select convert_from(
            string_agg(
                case
                    when piece[1] ~ '^%[[:xdigit:]]{2}$' then decode(substr(piece[1], 2), 'hex')
                    else convert_to(piece[1], 'UTF8')
                end,
                '' order by position
            ),
            'UTF8'
        )
        from regexp_matches(value, '%[[:xdigit:]]{2}|[^%]+|%', 'g') with ordinality as part (piece, position)
    );
exception
    when character_not_in_repertoire or untranslatable_character then
        return value;
end
$$;

create function nightshift.storage_key(url text) returns text
    language sql immutable parallel safe
return case
    when url ~ '%[[:xdigit:]]{2}' then
        nightshift.percent_decode(substring('/' || split_part(split_part(url, '#', 1), '?', 1) from '.*/uploads/(.+)$'))
    else substring('/' || split_part(split_part(url, '#', 1), '?', 1) from '.*/uploads/(.+)$')
end;
comment on function nightshift.storage_key(text) is
    'The key of the upload that a URL or path names: what follows its last /uploads/, decoded once, without query and '
    'fragment; null where it names none.';

