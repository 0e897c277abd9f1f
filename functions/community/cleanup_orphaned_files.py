"""Delete uploaded files that nothing has referred to, 30 days after they were uploaded, and objects without a row.

What refers to a file is said by the view `v_file_references`, and nowhere else. The row names the object until the
store has confirmed that it is gone. An object that no row names goes when two runs, one after the other, have seen it.
"""

from application.models import Upload
from functions.community._stored_files import RETENTION, delete_files, plan_files, referenced
from functions.community._unclaimed_objects import delete_unclaimed, plan_sightings, plan_unclaimed, remember_unclaimed
from nightshift import Count, Function, Job, Update, lambda_handler

job = Job(
    name="cleanup-orphaned-files",
    kind="retention",
    schedule="cron(0 4 * * ? *)",
    needs=frozenset({"application_files"}),
    steps=(
        Count(Upload, older_than=RETENTION, measured_by=Upload.created_at, counter="checked"),
        Update(
            Upload,
            name="mark-orphans",
            where=lambda run: ~referenced & Upload.deleting_at.is_distinct_from(run.now),
            older_than=RETENTION,
            measured_by=Upload.created_at,
            set=lambda run: {Upload.deleting_at: run.now},
            counter="orphaned",
        ),
        Function(
            name="delete-files",
            apply=delete_files,
            plan=plan_files,
            counters=("records_deleted", "files_deleted", "files_missing", "errors"),
            changes=("records_deleted",),
            tables=("uploads",),
            destructive=True,
        ),
        Update(
            Upload,
            name="reclaim",
            where=Upload.deleting_at.is_not(None) & referenced,
            measured_by=Upload.deleting_at,
            set={Upload.deleting_at: None},
            counter="reclaimed",
        ),
        Function(
            name="remember-unclaimed",
            apply=remember_unclaimed,
            plan=plan_sightings,
            counters=("unclaimed", "errors"),
            tables=("nightshift.unclaimed_objects",),
        ),
        Function(
            name="delete-unclaimed",
            apply=delete_unclaimed,
            plan=plan_unclaimed,
            counters=("unclaimed_deleted", "errors"),
            changes=("unclaimed_deleted",),
            tables=("nightshift.unclaimed_objects",),
            destructive=True,
        ),
    ),
)
handler = lambda_handler(job)
