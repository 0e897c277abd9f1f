import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select, text, update
from sqlalchemy.orm import Session

from application.models import AuditLog, Collaborator, Project, Upvote, User
from functions.community.recalculate_karma import job
from nightshift.steps import Difference, recompute
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import NOW, SECOND


def user(session: Session, **given: Any) -> User:
    new = User(**{"email": f"{uuid.uuid4()}@example.org", "created_at": NOW, **given})
    session.add(new)
    session.flush()
    return new


def project(session: Session, likes: int, people: dict[str, User], **given: Any) -> Project:
    """A project with people by role and as many likes of people that do nothing else."""
    new = Project(title="A project", **given)
    session.add(new)
    session.flush()
    session.add_all([Collaborator(project_id=new.id, user_id=who.id, role=role) for role, who in people.items()])
    session.add_all([Upvote(project_id=new.id, user_id=user(session).id) for _ in range(likes)])
    session.flush()
    return new


def karma(session: Session, *users: User) -> list[int]:
    session.rollback()
    return [session.scalars(select(User.karma).where(User.id == one.id)).one() for one in users]


def counters(result: dict[str, Any]) -> dict[str, int]:
    assert result["outcome"] == "succeeded"
    return {name: result["counters"][name] for name in ("users", "changed", "failed", "total_change")}


def test_the_formula(invoke_job: Invoke, session: Session) -> None:
    ann = user(session)
    project(session, 3, {"CREATOR": ann}, is_featured=True)
    project(session, 1, {"CONTRIBUTOR": ann})
    project(session, 1, {"CONTRIBUTOR": ann})
    project(session, 0, {"ADVISOR": ann})
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"users": 6, "changed": 1, "failed": 0, "total_change": 103}
    assert karma(session, ann) == [103]


def test_each_project_is_rounded_down_by_itself(invoke_job: Invoke, session: Session) -> None:
    ann, bob, eve = user(session), user(session), user(session)
    for _ in range(3):
        project(session, 1, {"CONTRIBUTOR": ann})
    project(session, 7, {"CREATOR": user(session), "CONTRIBUTOR": bob, "ADVISOR": eve})
    session.commit()

    invoke_job(job, at=NOW)

    assert karma(session, ann, bob, eve) == [0, 3, 1]


def test_only_creators_get_the_bonus_of_featured_projects(invoke_job: Invoke, session: Session) -> None:
    ann, bob, eve = user(session), user(session), user(session)
    for featured in (True, True, False):
        project(session, 4, {"CREATOR": ann, "CONTRIBUTOR": bob, "ADVISOR": eve}, is_featured=featured)
    project(session, 0, {"CREATOR": ann}, is_featured=True)
    session.commit()

    invoke_job(job, at=NOW)

    assert karma(session, ann, bob, eve) == [312, 6, 3]


def test_own_likes_inactive_users_and_closed_projects_count(invoke_job: Invoke, session: Session) -> None:
    ann = user(session, is_active=False)
    own = project(session, 1, {"CREATOR": ann}, status="archived")
    session.add(Upvote(project_id=own.id, user_id=ann.id))
    session.commit()

    invoke_job(job, at=NOW)

    assert karma(session, ann) == [2]


def test_drift_is_repaired_both_ways_and_its_size_counted(invoke_job: Invoke, session: Session) -> None:
    low, high, alone, right = user(session, karma=1), user(session, karma=9), user(session, karma=7), user(session)
    project(session, 3, {"CREATOR": low})
    project(session, 4, {"CREATOR": high})
    session.commit()

    found = counters(invoke_job(job, at=NOW))

    assert karma(session, low, high, alone, right) == [3, 4, 0, 0]
    assert found == {"users": 11, "changed": 3, "failed": 0, "total_change": 2 + 5 + 7}


def test_anonymised_and_deleted_users_are_left_alone(invoke_job: Invoke, session: Session) -> None:
    gone, hidden = user(session, deleted_at=NOW, karma=5), user(session, anonymized_at=NOW, karma=6)
    project(session, 1, {"CREATOR": gone, "ADVISOR": hidden})
    session.commit()

    assert counters(invoke_job(job, at=NOW))["users"] == 1
    assert karma(session, gone, hidden) == [5, 6]


def test_a_run_with_nothing_to_do_writes_no_user(invoke_job: Invoke, session: Session) -> None:
    ann = user(session)
    project(session, 2, {"CREATOR": ann})
    session.commit()
    invoke_job(job, at=NOW)
    versions = select(User.id, text("xmin::text")).order_by(User.id)
    before = session.execute(versions).all()
    session.rollback()

    assert counters(invoke_job(job, at=NOW + SECOND)) == {"users": 3, "changed": 0, "failed": 0, "total_change": 0}
    assert session.execute(versions).all() == before
    assert session.scalar(select(func.count()).select_from(AuditLog)) == 1


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "FIRST", 2)
    monkeypatch.setattr(recompute, "LARGEST", 2)


@pytest.mark.usefixtures("small_batches")
def test_a_user_that_cannot_be_changed_is_quarantined_and_the_others_go_on(
    invoke_job: Invoke, session: Session
) -> None:
    users = [user(session, karma=number) for number in range(1, 8)]
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as"
            " $$ begin if old.karma = 4 then raise 'not this one'; end if; return new; end $$;"
        )
    )
    session.execute(text("create trigger refuse before update on users for each row execute function refuse()"))
    session.commit()

    result = invoke_job(job, at=NOW)

    assert karma(session, *users) == [0, 0, 0, 4, 0, 0, 0]
    assert counters(result) == {"users": 7, "changed": 6, "failed": 1, "total_change": 24}
    (error,) = result["errors"]
    assert error.startswith(f"users:{users[3].id}: ")
    assert "not this one" not in error


@pytest.mark.usefixtures("small_batches")
def test_a_figure_that_changes_while_the_list_is_worked_off_is_left_alone(
    invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN a like that arrives during the run WHEN its user's turn comes THEN the application's figure stays."""
    users = [user(session, karma=number) for number in range(1, 7)]
    session.commit()
    write = recompute.Recompute._write

    def like_first(step: recompute.Recompute, batch: Any, place: Any, *rest: Any) -> None:
        if place["after"] == 2:
            with database.begin() as application:
                application.execute(update(User).where(User.id == users[4].id).values(karma=User.karma + 1))
        write(step, batch, place, *rest)

    monkeypatch.setattr(recompute.Recompute, "_write", like_first)

    assert counters(invoke_job(job, at=NOW))["changed"] == 5
    assert karma(session, *users) == [0, 0, 0, 0, 6, 0]


@pytest.mark.usefixtures("small_batches")
def test_a_user_who_is_anonymised_while_the_list_is_worked_off_is_left_alone(
    invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [user(session, karma=number) for number in range(1, 7)]
    session.commit()
    write = recompute.Recompute._write

    def erase_first(step: recompute.Recompute, batch: Any, place: Any, *rest: Any) -> None:
        if place["after"] == 2:
            with database.begin() as other_job:
                other_job.execute(update(User).where(User.id == users[4].id).values(anonymized_at=NOW))
        write(step, batch, place, *rest)

    monkeypatch.setattr(recompute.Recompute, "_write", erase_first)

    assert counters(invoke_job(job, at=NOW))["changed"] == 5
    assert karma(session, *users) == [0, 0, 0, 0, 5, 0]


@pytest.mark.usefixtures("small_batches")
def test_it_is_written_in_batches_and_leaves_no_list_behind(invoke_job: Invoke, session: Session) -> None:
    """Nor is it disturbed by the list that a run left behind which died: not this job's, and not another's."""
    users = [user(session, karma=number) for number in range(1, 12)]
    session.flush()
    (step,) = job.steps
    left = {"key": [str(users[0].id)], "found": 1, "computed": 99}
    session.add_all(
        Difference(step=name, position=position, **left) for name in (step.name, "other") for position in (1, 11, 12)
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    assert result["counters"]["batches"] == 1 + 6 + 1
    assert set(karma(session, *users)) == {0}
    assert session.scalars(select(Difference.step)).all() == ["other"] * 3


def test_the_number_of_statements_does_not_grow_with_the_users(invoke_job: Invoke, session: Session) -> None:
    for _ in range(60):
        project(session, 1, {"CREATOR": user(session)})
    session.commit()
    statements = []
    listener = (Engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    event.listen(*listener)
    try:
        result = invoke_job(job, at=NOW)
    finally:
        event.remove(*listener)

    assert result["counters"]["changed"] == 60
    assert len(statements) < 40


def test_a_plan_counts_what_would_change(invoke_job: Invoke, session: Session) -> None:
    users = [user(session, karma=1) for _ in range(3)] + [user(session)]
    session.commit()

    (step,) = invoke_job(job, {"dry_run": True}, at=NOW)["plan"]["steps"]

    assert (step["rows"], step["table"]) == (3, "users")
    assert set(step["sample"]) == {str(one.id) for one in users[:3]}
    assert karma(session, *users) == [1, 1, 1, 0]
