"""Karma: the whole job against one hand-written UPDATE, and against batches of 50 users with queries for each user.

`BENCH_USERS=100000 python -m bench recalculate_karma` takes fewer users than the million, and five likes for each.
"""

import datetime as dt
import os
import time

from sqlalchemy import Connection, Engine, text

from bench.example import database
from bench.invocation import Invocation, in_own_process, invoked
from bench.paired import line, paired, seconds

USERS = int(os.environ.get("BENCH_USERS", "1_000_000"))
LIKES_EACH = 5
PROJECTS = USERS // 5
SAMPLE = 2_000
"""So many users are done the seed's way, to know what all would take."""

NOW = dt.datetime(2026, 3, 1, 5, tzinfo=dt.UTC)

FILL = (
    "insert into users (email, name, bio) select i || '@example.com', 'User ' || i, repeat('b', 100)"
    " from generate_series(1, cast(:users as int)) i",
    "create temporary table people as select id, row_number() over () - 1 as i from users",
    "insert into projects (title, is_featured) select 'Project ' || i, mod(i, 20) = 0"
    " from generate_series(1, cast(:projects as int)) i",
    "create temporary table works as select id, row_number() over () - 1 as i from projects",
    "create unique index on people (i)",
    "create unique index on works (i)",
    # One creator, two contributors and one adviser a project; most people have a part in none, one or two.
    """
    insert into collaborators (project_id, user_id, role)
    select works.id, people.id, (array['CREATOR', 'CONTRIBUTOR', 'CONTRIBUTOR', 'ADVISOR'])[1 + k]
      from works cross join generate_series(0, 3) k
      join people on people.i = mod((works.i * 4 + k) * bigint '7368787', :users)
    on conflict do nothing
    """,
    # Few projects have most of the likes.
    """
    insert into upvotes (user_id, project_id)
    select people.id, works.id
      from people cross join generate_series(1, cast(:likes as int)) k
      join works on works.i = floor(power(mod((people.i * :likes + k) * bigint '7368787', 1000003) / 1000003.0, 3)
                                    * :projects)
    on conflict do nothing
    """,
)

FIGURES = """
    select users.id, coalesce(earned.karma, 0) as karma
      from users
      left join (
        select user_id, sum(
                 case role when 'CREATOR' then n when 'CONTRIBUTOR' then n / 2 else n / 4 end
                 + case when role = 'CREATOR' and is_featured then 100 else 0 end) as karma
          from (
            select user_id, role, is_featured, coalesce(likes.n, 0) as n
              from collaborators
              join projects on projects.id = project_id
              left join (select project_id, count(*) as n from upvotes group by project_id) likes using (project_id)
          ) parts
         group by user_id
      ) earned on earned.user_id = users.id
     where deleted_at is null and anonymized_at is null
"""

BY_HAND = f"""
    update users set karma = figures.karma from ({FIGURES}) figures
     where users.id = figures.id and users.karma <> figures.karma
"""  # noqa: S608 - a constant

MODULE = "functions.community.recalculate_karma"
EVENT = {"scheduled_for": NOW.isoformat(), "force": True}


def fill(engine: Engine) -> None:
    with engine.begin() as connection:
        for statement in FILL:
            values = {"users": USERS, "projects": PROJECTS, "likes": LIKES_EACH}
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), used)
        connection.execute(text("analyze"))
        connection.execute(text(BY_HAND))


def drift(engine: Engine, one_in: int) -> None:
    """Put one user's figure in so many out of step, and leave the table as it was found: no dead rows."""
    with engine.begin() as connection:
        connection.execute(text("update users set karma = karma + 1 where mod(hashtext(email), :n) = 0"), {"n": one_in})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum full users"))
        connection.execute(text("vacuum analyze"))
        connection.execute(text("checkpoint"))


def by_hand(engine: Engine) -> float:
    with engine.connect() as connection:
        connection.execute(text("select 1"))  # connect before the clock starts
        connection.rollback()
        started = time.perf_counter()
        connection.execute(text(BY_HAND))
        connection.commit()
        return time.perf_counter() - started


def as_the_seed_does(connection: Connection) -> None:
    """Fifty users at a time; for each their projects, for each project its likes, and an update."""
    people = connection.execute(text("select id from users order by id limit :sample"), {"sample": SAMPLE}).all()
    for start in range(0, len(people), 50):
        for (user,) in people[start : start + 50]:
            karma = 0
            parts = connection.execute(
                text(
                    "select role, is_featured, project_id from collaborators join projects on id = project_id"
                    " where user_id = :user"
                ),
                {"user": user},
            ).all()
            for role, featured, project in parts:
                likes = connection.scalar(
                    text("select count(*) from upvotes where project_id = :project"), {"project": project}
                )
                karma += (likes or 0) // {"CREATOR": 1, "CONTRIBUTOR": 2, "ADVISOR": 4}[role]
                karma += 100 if featured and role == "CREATOR" else 0
            connection.execute(text("update users set karma = :karma where id = :user"), {"karma": karma, "user": user})
        connection.commit()


def main() -> None:
    """Print the figures."""
    print(f"Karma of {USERS:,} users from {USERS * LIKES_EACH:,} likes (whole invocation)")
    with database() as engine:
        fill(engine)
        runs: list[Invocation] = []
        for one_in, pairs in ((100, 3), (1, 2)):

            def ours(one_in: int = one_in) -> float:
                drift(engine, one_in)
                runs.append(invoked(engine, MODULE, EVENT))
                return runs[-1].seconds

            def reference(one_in: int = one_in) -> float:
                drift(engine, one_in)
                return by_hand(engine)

            ratios, mine, other = paired(ours, reference, pairs=pairs)
            what = f"{1 / one_in:.0%} of the figures out of step"
            line(f"{what}: time, ours / one statement by hand", ratios, "aim: at most 1.3")
            line("    ours, by hand, users changed", f"{mine:.2f} s, {other:.2f} s, {runs[-1].counters['changed']:,}")
            # The first transaction computes and writes no user, the last forgets the list: those between hold locks.
            longest = max((ms for run in runs for ms in run.batches_ms[1:-1]), default=0)
            line("    longest transaction that writes users", f"{longest} ms")
            if one_in == 100:
                with engine.connect() as connection:
                    sample = seconds(lambda: as_the_seed_does(connection))
                line(
                    f"    the seed's way ({SAMPLE:,} users measured, for all) / ours",
                    f"{sample * USERS / SAMPLE / mine:.0f}",
                    "aim: at least 50",
                )
        drift(engine, 1)
        megabytes, _ = in_own_process(engine, MODULE, EVENT)
        line("all figures out of step: peak memory", f"{megabytes:.0f} MB", "aim: under 256 MB")
