"""Set every user's karma to what their projects' likes earn them, where the stored figure has drifted.

A project's likes count in full for its creator, half for a contributor and a quarter for an adviser, each project
rounded down by itself; a creator gets 100 more for a featured project. Likes of one's own count, and so do inactive
users and projects of any status. Between two runs the application keeps the figure up to date by itself.
"""

from sqlalchemy import BigInteger, case, cast, func, select

from application.models import Collaborator, Project, Upvote, User
from nightshift import Job, lambda_handler
from nightshift.steps import Recompute

FEATURED = 100

likes = select(Upvote.project_id, func.count().label("likes")).group_by(Upvote.project_id).subquery()
received = func.coalesce(likes.c.likes, 0)
creator = Collaborator.role == "CREATOR"
earned = case((creator, received), (Collaborator.role == "CONTRIBUTOR", received // 2), else_=received // 4)
bonus = case((creator & Project.is_featured, FEATURED), else_=0)

job = Job(
    name="recalculate-karma",
    kind="recalculation",
    schedule="cron(0 5 ? * SUN *)",
    steps=(
        Recompute(
            User,
            name="recompute-karma",
            column=User.karma,
            where=User.deleted_at.is_(None) & User.anonymized_at.is_(None),
            to=select(Collaborator.user_id.label("key"), cast(func.sum(earned + bonus), BigInteger).label("value"))
            .join(Project, Project.id == Collaborator.project_id)
            .outerjoin(likes, likes.c.project_id == Collaborator.project_id)
            .group_by(Collaborator.user_id),
            seen="users",
        ),
    ),
)
handler = lambda_handler(job)
