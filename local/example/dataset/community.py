"""Projects with their collaborators and votes, ideas, and uploaded files."""

from local.example.dataset.fill import fill
from local.example.dataset.people import AVATAR_SHARE

PROJECTS_PER_USER = 0.2
FEATURED_SHARE = 0.03
IMAGE_SHARE = 0.6
ALONE_SHARE = 0.4  # projects whose creator has no collaborators; the others have up to four
VOTES_PER_USER = 10.0  # a few of them drawn twice and dropped
IDEAS_PER_USER = 0.4
ORPHANS_PER_USER = 0.015  # uploads nothing points to
OLD_ORPHAN_SHARE = 0.7  # of those, older than 30 days: they go

FILLS = (
    fill(
        "projects",
        """
        insert into projects (id, title, image_url, status, is_featured, created_at, updated_at)
        select key('project', k),
            pick(array['Open', 'Quiet', 'Portable', 'Shared', 'Solar', 'Tiny', 'Civic'], draw('adjective', k)) || ' '
                || pick(array['Atlas', 'Garden', 'Kitchen', 'Library', 'Radio', 'Workshop', 'Weather'], draw('noun', k))
                || ' ' || k,
            case when draw('image', k) < :image then pick(
                array['/uploads/', 'https://cdn.example.com/uploads/'], draw('image url', k)
            ) || key('image', k) || '.png' || case when draw('image size', k) < 0.3 then '?width=640#top' else ''
                end end,
            pick(array['active', 'active', 'active', 'archived'], draw('project status', k)),
            draw('featured', k) < :featured, ago(age), ago(age * draw('project changed', k))
        from generate_series(1, per_user(:ratio)) as k
            cross join lateral (select 900 * draw('project', k) as age) as ages
        """,
        ratio=PROJECTS_PER_USER,
        image=IMAGE_SHARE,
        featured=FEATURED_SHARE,
    ),
    fill(
        "collaborators",
        """
        insert into collaborators (project_id, user_id, role, created_at)
        select distinct on (k, people.id) key('project', k), people.id,
            case when seat = 0 then 'CREATOR' when draw('advisor', k * 8 + seat) < 0.3 then 'ADVISOR'
                else 'CONTRIBUTOR' end,
            ago(900 * draw('project', k) * (1 - 0.1 * seat))
        from generate_series(1, per_user(:ratio)) as k
            cross join generate_series(0, case when draw('alone', k) < :alone then 0
                else 1 + floor(4 * draw('seats', k))::int end)
                as seat
            join people on i = regular('seat', k * 8 + seat)
        order by k, people.id, seat
        """,
        ratio=PROJECTS_PER_USER,
        alone=ALONE_SHARE,
    ),
    fill(
        "upvotes",
        """
        insert into upvotes (user_id, project_id, created_at)
        select key('user', voter), key('project', project), max(ago(600 * draw('voted', k)))
        from generate_series(1, per_user(:ratio)) as k
            cross join lateral (select regular('voter', k) as voter,
                1 + floor(power(draw('vote', k), 2.5) * per_user(:projects))::int as project) as vote
        group by voter, project order by voter, project
        """,
        ratio=VOTES_PER_USER,
        projects=PROJECTS_PER_USER,
    ),
    fill(
        "ideas",
        """
        insert into ideas (id, creator_id, title, description, created_at)
        select key('idea', k), id, 'Idea ' || k || ': ' ||
            pick(array['a map of benches', 'a tool library', 'shared notes', 'a calmer inbox'], draw('idea', k)),
            case when draw('described', k) < 0.7 then 'What if we made this together? Thoughts welcome.' end,
            ago(800 * draw('idea age', k))
        from generate_series(1, per_user(:ratio)) as k join people on i = regular('idea', k)
        """,
        ratio=IDEAS_PER_USER,
    ),
    # Every file that an avatar or a project's image points to, in each way of pointing, and the orphans.
    fill(
        "uploads",
        """
        insert into uploads (id, storage_key, filename, bytes, uploader_id, created_at)
        select key('upload', number), stored, regexp_replace(stored, '^[-0-9a-f]{36}', 'file-' || number),
            20000 + floor(3000000 * power(draw('bytes', number), 3))::bigint, uploader, made
        from (
            select i as number, key('avatar', i) || case when draw('photo name', i) < 0.05 then ' photo' else '' end
                || '.jpg'
                as stored, id as uploader, ago(joined_days * draw('avatar made', i)) as made
            from people where not gone and draw('avatar', i) < :avatar
            union all
            select 1000000000 + k, key('image', k) || '.png', people.id, ago(900 * draw('project', k))
            from generate_series(1, per_user(:projects)) as k join people on i = regular('seat', k * 8)
            where draw('image', k) < :image
            union all
            select 2000000000 + k, key('orphan', k) || pick(array['.jpg', '.png', '.pdf'], draw('suffix', k)),
                case when draw('orphan owner', k) < 0.9 then people.id end,
                ago(case when draw('orphan age', k) < :old then 30.5 + 300 * draw('orphan day', k)
                    else 29 * draw('orphan day', k) end)
            from generate_series(1, per_user(:orphans)) as k join people on i = someone('orphan', k)
        ) as files
        """,
        avatar=AVATAR_SHARE,
        projects=PROJECTS_PER_USER,
        image=IMAGE_SHARE,
        orphans=ORPHANS_PER_USER,
        old=OLD_ORPHAN_SHARE,
    ),
)
