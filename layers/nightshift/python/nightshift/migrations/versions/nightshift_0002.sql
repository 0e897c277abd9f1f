-- What ran before is not looked for: whoever upgrades starts to account at that moment.

alter table nightshift.jobs
    add column schedule text,
    add column accounted_until timestamptz not null default now();

-- Erasures look for what was written since they began.
create index notif_created on nightshift.notifications (created_at);
