"""The same of the example: its jobs, its alerts, its erasures."""

from tests.faults.breaks import breaks

BREAKS = (
    *breaks(
        "layers/application/python/application/alerts/sightings.py",
        ("tests/integration/example/test_sightings.py", "tests/integration/example/jobs/test_security_alerts.py"),
        ("an alert seen again is told again", "    if risen:\n        alert", "    if True:\n        alert"),
        (
            "an alert that becomes worse is not told",
            "alert.severity, alert.notified_at = severity, None",
            "alert.severity = severity",
        ),
        (
            "an alert becomes milder",
            "SEVERITIES.index(severity) > SEVERITIES",
            "SEVERITIES.index(severity) != SEVERITIES",
        ),
        ("an alert seen again counts nothing", "    alert.occurrences += occurrences\n", ""),
        (
            "of events, one seen again is told again",
            "notified_at = case when {_RISEN} then null else alert.notified_at end",
            "notified_at = null",
        ),
        (
            "of events, one that becomes worse is not told",
            "notified_at = case when {_RISEN} then null else alert.notified_at end",
            "notified_at = alert.notified_at",
        ),
        (
            "of events, severity sinks",
            "severity = case when {_RISEN} then excluded.severity else alert.severity end",
            "severity = excluded.severity",
        ),
        ("events count twice", "where last_seen_at is null or at > last_seen_at", "where true"),
        ("an event at the last instant counts twice", "or at > last_seen_at", "or at >= last_seen_at"),
        ("other rules' alerts are resolved", "quiet = (Alert.rule.in_(rules), Alert.status", "quiet = (Alert.status"),
        (
            "alerts that are still seen are resolved",
            'which = [Alert.rule == rule, Alert.status != "resolved", Alert.last_seen_at < quiet_since]',
            'which = [Alert.rule == rule, Alert.status != "resolved"]',
        ),
        (
            "another subject's alert is resolved",
            '        which.append(Alert.fingerprint == f"{rule}:{subject}")',
            "        pass",
        ),
    ),
    *breaks(
        "layers/application/python/application/alerts/notices.py",
        (
            "tests/integration/example/test_sightings.py",
            "tests/integration/example/jobs/test_security_alerts.py",
            "tests/integration/example/jobs/test_refused_alerts.py",
        ),
        ("what is told is told again", "values(notified_at=run.now)", "values(notified_at=None)"),
        (
            "resolved alerts are told",
            'untold = and_(alerts.notified_at.is_(None), alerts.status != "resolved")',
            "untold = and_(alerts.notified_at.is_(None))",
        ),
        ("refused alerts count as told", "    if lost and not mails:\n        return 0\n", ""),
        (
            "without administrators alerts count as told",
            "where(untold, select(administrator.c.id).exists())",
            "where(untold)",
        ),
        ("admins get only the critical ones", 'return or_(role.c.role == "admin", widely)', "return widely"),
        ("super administrators get all", 'return or_(role.c.role == "admin", widely)', "return true()"),
    ),
    *breaks(
        "layers/application/python/application/erasure/again.py",
        ("tests/integration/example/jobs/test_backup.py", "tests/integration/example/jobs/test_finalize_deletions.py"),
        (
            "who is anonymised is erased again",
            ", User.anonymized_at.is_(None)).with_for_update()",
            ").with_for_update()",
        ),
        ("an unknown erasure is not told", "                unknown += 1\n", "                pass\n"),
        (
            "a restored request is carried out once more",
            'session.execute(done.values(status="COMPLETED", completed_at=at, last_error=None))',
            "pass",
        ),
        (
            "a repeated erasure is not noted",
            "            record(session, subject, mode, at=at)\n",
            "            pass\n",
        ),
        (
            "the guard of the audit log stops a restore's erasures",
            '        session.execute(select(func.set_config("nightshift.run_id", str(uuid.uuid4()), True)))\n',
            "",
        ),
    ),
    *breaks(
        "functions/community/delete_audit_logs.py",
        ("tests/unit/example/test_limits.py",),
        ("rows may go before they can be archived", '3, "years", minimum=2)', '3, "years", minimum=1)'),
    ),
    *breaks(
        "functions/community/delete_audit_logs.py",
        ("tests/integration/example/jobs/test_delete_audit_logs.py",),
        ("rows on hold go", "where=AuditLog.legal_hold.is_(False),", "where=AuditLog.id.is_not(None),"),
        (
            "archives with a row on hold go",
            "where(month_end < run.ago(RETENTION), ~select(AuditLog.id).where(on_hold).exists())",
            "where(month_end < run.ago(RETENTION))",
        ),
        (
            "an archive goes before its month's end",
            "AuditArchive.month + func.make_interval(0, 1)",
            "AuditArchive.month + func.make_interval(0, 0)",
        ),
        (
            "the manifest of an archive stays",
            "for key in (archive.s3_key, manifest_key(archive.s3_key)):",
            "for key in (archive.s3_key,):",
        ),
        (
            "the object of an archive stays",
            "                    execution.resources.files.delete(key)",
            "                    pass",
        ),
        (
            "unarchived rows are not counted",
            'counting={"deleted_unarchived": AuditLog.archive_id.is_(None)}',
            'counting={"deleted_unarchived": AuditLog.archive_id.is_not(None)}',
        ),
        (
            "a refused archive is tried for ever",
            'AuditArchive.id.not_in(map(uuid.UUID, place.get("refused", ())))',
            "AuditArchive.id.is_not(None)",
        ),
    ),
    *breaks(
        "functions/community/_due_deletions.py",
        ("tests/unit/example/test_limits.py",),
        (
            "the days of grace have no floor",
            '"days", minimum=7, about="how long a request',
            '"days", minimum=1, about="how long a request',
        ),
    ),
    *breaks(
        "functions/community/finalize_deletions.py",
        ("tests/integration/example/jobs/test_finalize_deletions.py",),
        (
            "a request taken back is carried out",
            ', DataRequest.status == "PENDING")\n        if batch',
            ")\n        if batch",
        ),
        ("a lost connection counts as the request's failure", "if sqlstate(error) is None or (", "if False or ("),
        (
            "running out of time counts as the request's failure",
            " or (sqlstate(error) == OUT_OF_TIME and is_passing(error)):",
            ":",
        ),
        (
            "a trigger's refusal counts as running out of time",
            "(sqlstate(error) == OUT_OF_TIME and is_passing(error))",
            "(sqlstate(error) == OUT_OF_TIME)",
        ),
        (
            "a zombie deletes export files",
            "quotes: Quotes) -> None:\n    execution.stop_if_late()\n",
            "quotes: Quotes) -> None:\n",
        ),
        (
            "a person is erased though files remain",
            "        failure = describe(error)\n    with",
            "        pass\n    with",
        ),
        (
            "a request put off is tried again in the same run",
            "    if (place := execution.position) is not None:",
            "    if (place := None) is not None:",
        ),
    ),
    *breaks(
        "functions/community/_due_deletions.py",
        ("tests/integration/example/jobs/test_finalize_deletions.py",),
        (
            "a request within the days of grace is carried out",
            "        .where(DataRequest.requested_at < run.ago(GRACE))\n",
            "",
        ),
        (
            "a request at the end of grace is carried out",
            "DataRequest.requested_at < run.ago(GRACE)",
            "DataRequest.requested_at <= run.ago(GRACE)",
        ),
        (
            "exports are taken for deletions",
            'DataRequest.request_type == "DELETION", DataRequest.status',
            "DataRequest.status",
        ),
    ),
    *breaks(
        "functions/community/_deletion_requests.py",
        ("tests/integration/example/jobs/test_finalize_deletions.py",),
        (
            "whoever has not chosen is deleted",
            'else_="anonymized"',
            'else_="deleted"',
        ),
        (
            "a blocked person's exports go",
            "        if user is not None and obstacle(session, user.id, user.role) is not None:\n            return\n",
            "",
        ),
        ("a legal hold does not block", "    if session.scalar(on_hold) is not None:", "    if False:"),
        (
            "the last super-admin goes",
            'if role == "super_admin" and session.scalar(others.limit(1)) is None:',
            "if False:",
        ),
        ("a locked super-admin counts as another", ", User.id != user_id, User.is_active)", ", User.id != user_id)"),
        (
            "the last super-admin counts as another",
            'where(User.role == "super_admin", User.id != user_id, User',
            'where(User.role == "super_admin", User',
        ),
        ("an erasure is not recorded", "    record(session, request.subject_ref, mode, at=run.now)\n", ""),
        ("a failed request is tried for ever", "attempts >= MOST_ATTEMPTS", "attempts >= 1000"),
        ("a failed request fails once too early", "attempts >= MOST_ATTEMPTS", "attempts + 1 >= MOST_ATTEMPTS"),
        ("a request that has failed raises no alert", '    if status == "FAILED":\n', "    if False:\n"),
        (
            "somebody else's exports go",
            'select(DataRequest.id).where(DataRequest.user_id == user_id, DataRequest.request_type == "EXPORT")',
            'select(DataRequest.id).where(DataRequest.request_type == "EXPORT")',
        ),
    ),
    *breaks(
        "functions/administration/subscriptions/renewals.py",
        ("tests/integration/example/jobs/test_subscription_lifecycle.py",),
        ("a broken date is renewed for ever", "periods.c.number < MOST_PERIODS, ", "periods.c.number < 100_000, "),
        ("one period too many", "MOST_PERIODS = 36", "MOST_PERIODS = 37"),
    ),
    *breaks(
        "functions/community/_stored_files.py",
        ("tests/integration/example/jobs/test_cleanup_orphaned_files.py",),
        ("more objects go than were counted", "min(left, OBJECTS_A_BATCH)", "OBJECTS_A_BATCH"),
    ),
    *breaks(
        "functions/administration/subscriptions/lifecycle.py",
        ("tests/integration/example/jobs/test_subscription_lifecycle.py",),
        (
            "an old payment brings an unpaid one back",
            '(S.status == "unpaid") & (last_success(run) >= PAST_DUE_SINCE)',
            '(S.status == "unpaid") & last_success(run).is_not(None)',
        ),
        (
            "a cancelled trial without a payment method pauses",
            "~S.has_payment_method & ~S.cancel_at_period_end",
            "~S.has_payment_method",
        ),
    ),
    *breaks(
        "functions/administration/security_alerts.py",
        ("tests/integration/example/jobs/test_security_alerts.py",),
        ("a run that failed has seen everything", ', RunRecord.state == "succeeded")', ")"),
    ),
    *breaks(
        "functions/administration/weekly_report.py",
        ("tests/integration/example/jobs/test_weekly_report.py",),
        ("a day is counted while others write", "batch(snapshot=True)", "batch()"),
    ),
    *breaks(
        "store/restoring.py",
        ("tests/integration/example/jobs/test_backup.py",),
        ("rows that do not come in are not told", 'if rows != table["rows"]:', "if False:"),
    ),
    *breaks(
        "store/records.py",
        ("tests/integration/example/jobs/test_backup.py",),
        ("the last snapshot goes", 'for kind in ("logical", "snapshot")', 'for kind in ("logical",)'),
    ),
    *breaks(
        "store/snapshots.py",
        ("tests/integration/example/jobs/test_backup.py",),
        (
            "a snapshot that failed is waited for",
            '"failed" | "incompatible-restore" | "incompatible-parameters" | "deleting"',
            '"incompatible-restore"',
        ),
    ),
    *breaks(
        "store/files.py",
        ("tests/integration/example/jobs/test_backup.py",),
        ("an abandoned upload stays in parts", "            writing.abort()\n", ""),
    ),
    *breaks(
        "store/keys.py",
        ("tests/integration/example/jobs/test_summary_regeneration.py",),
        (
            "a data key takes another's number",
            "max(session.scalars(select(DataKey.key_id)), default=0) + 1",
            "len(session.scalars(select(DataKey.key_id)).all()) + 1",
        ),
    ),
    *breaks(
        "functions/community/anonymize_audit_logs.py",
        ("tests/integration/example/jobs/test_anonymize_audit_logs.py",),
        (
            "rows on hold are anonymised",
            "AuditLog.anonymized_at.is_(None) & AuditLog.legal_hold.is_(False)",
            "AuditLog.anonymized_at.is_(None)",
        ),
        (
            "a row is anonymised again each night",
            "where=AuditLog.anonymized_at.is_(None) & AuditLog.legal_hold.is_(False)",
            "where=AuditLog.legal_hold.is_(False)",
        ),
        ("the actor stays", "                AuditLog.actor_id: None,\n", ""),
        ("the session stays", "                AuditLog.session_id: None,\n", ""),
        ("the address stays", "                AuditLog.ip: None,\n", ""),
        ("the user agent stays", "                AuditLog.user_agent: None,\n", ""),
        ("an address in the resource stays", "mask_emails(AuditLog.resource_id)", "AuditLog.resource_id"),
        (
            "changes are not redacted",
            "AuditLog.changes: redact(AuditLog.changes)",
            "AuditLog.changes: AuditLog.changes",
        ),
        (
            "held counts what is done",
            "where=AuditLog.anonymized_at.is_(None) & AuditLog.legal_hold.is_(True)",
            "where=AuditLog.legal_hold.is_(True)",
        ),
        ("anonymising can be taken back", "            irreversible=True,\n", ""),
    ),
    *breaks(
        "functions/community/cleanup_invitations.py",
        ("tests/integration/example/jobs/test_cleanup_invitations.py",),
        ("other kinds of invitation go", '(Invitation.kind == "project")\n            & (Inv', "(Inv"),
        ("answered invitations go", '            & (Invitation.status == "pending")\n', ""),
        ("accepted invitations go", "            & Invitation.accepted_at.is_(None)\n", ""),
        ("declined invitations go", "            & Invitation.declined_at.is_(None),\n", ",\n"),
    ),
    *breaks(
        "functions/community/cleanup_push_tokens.py",
        ("tests/integration/example/jobs/test_cleanup_push_tokens.py",),
        (
            "a token that is used goes",
            "func.coalesce(PushToken.last_used_at, PushToken.created_at)",
            "PushToken.created_at",
        ),
        (
            "a token that was never used stays",
            "func.coalesce(PushToken.last_used_at, PushToken.created_at)",
            "PushToken.last_used_at",
        ),
    ),
    *breaks(
        "functions/community/recalculate_karma.py",
        ("tests/integration/example/jobs/test_recalculate_karma.py",),
        (
            "contributors get all",
            '(Collaborator.role == "CONTRIBUTOR", received // 2)',
            '(Collaborator.role == "CONTRIBUTOR", received)',
        ),
        (
            "everybody gets the bonus",
            "case((creator & Project.is_featured, FEATURED)",
            "case((Project.is_featured, FEATURED)",
        ),
        ("erased people get karma", " & User.anonymized_at.is_(None)", ""),
        ("deleted people get karma", "User.deleted_at.is_(None) & ", ""),
        ("projects without likes lose their bonus", ".outerjoin(likes", ".join(likes"),
    ),
    *breaks(
        "functions/identity/_one_time_tokens.py",
        (
            "tests/integration/example/jobs/test_password_reset_cleanup.py",
            "tests/integration/example/jobs/test_email_verification_cleanup.py",
        ),
        (
            "used tokens of other kinds go",
            "(AuthToken.kind == kind) & (AuthToken.used_at <= run.now)",
            "(AuthToken.used_at <= run.now)",
        ),
        (
            "expired tokens of other kinds go",
            "(AuthToken.kind == kind) & (AuthToken.expires_at < run.now) &",
            "(AuthToken.expires_at < run.now) &",
        ),
        ("a token that expires now goes", "AuthToken.expires_at < run.now", "AuthToken.expires_at <= run.now"),
        ("a token used in the future is counted twice or not", "or_(unused, AuthToken.used_at > run.now)", "unused"),
    ),
    *breaks(
        "functions/identity/refresh_token_cleanup.py",
        ("tests/integration/example/jobs/test_refresh_token_cleanup.py",),
        ("all kinds of token go", 'where=AuthToken.kind == "refresh",', 'where=AuthToken.kind != "",'),
    ),
    *breaks(
        "functions/identity/login_attempt_cleanup.py",
        ("tests/unit/example/test_limits.py", "tests/integration/example/jobs/test_login_attempt_cleanup.py"),
        ("attempts may go at once", '7, "days", minimum=1', '7, "days", minimum=0'),
        ("attempts go a day early", '7, "days", minimum=1', '6, "days", minimum=1'),
    ),
    *breaks(
        "functions/community/_stored_files.py",
        ("tests/integration/example/jobs/test_cleanup_orphaned_files.py",),
        (
            "files that are referred to are deleted",
            "Upload.deleting_at == execution.run.now, ~referenced\n",
            "Upload.deleting_at == execution.run.now\n",
        ),
        ("rows that are referred to go", "where(Upload.id.in_(gone), ~referenced)", "where(Upload.id.in_(gone))"),
        (
            "a row is not locked before it is asked again",
            "Upload.id.in_(gone)).with_for_update())",
            "Upload.id.in_(gone)))",
        ),
        ("what the store keeps loses its row", "failed[row.key] = describe(result)", "gone[row.key] = deleted"),
        (
            "the plan counts referred files",
            "Upload.created_at < run.ago(RETENTION), ~referenced)",
            "Upload.created_at < run.ago(RETENTION))",
        ),
        ("what was tried is forgotten", '"tried": _tried(execution) + len(gone) + len(failed)', '"tried": 0'),
    ),
    *breaks(
        "functions/community/_unclaimed_objects.py",
        ("tests/integration/example/jobs/test_cleanup_orphaned_files.py",),
        ("young objects are written down", " if found.modified_at < run.ago(RETENTION)}", "}"),
        ("objects with a row are written down", 'old - set(batch.session.scalars(named)) - {""}', 'old - {""}'),
        (
            "first sight is forgotten",
            'again = {"last_seen_at": run.now}',
            'again = {"last_seen_at": run.now, "first_seen_at": run.now}',
        ),
        (
            "objects that have got a row go",
            "UnclaimedObject.first_seen_at < now, ~claimed",
            "UnclaimedObject.first_seen_at < now",
        ),
        (
            "objects not seen any more go",
            "UnclaimedObject.last_seen_at == now, UnclaimedObject.first",
            "UnclaimedObject.first",
        ),
        (
            "sightings of an incomplete list are forgotten",
            "        if failure is None:\n            batch.session.execute(delete(Uncl",
            "        if True:\n            batch.session.execute(delete(Uncl",
        ),
        (
            "sightings are never forgotten",
            "batch.session.execute(delete(UnclaimedObject).where(UnclaimedObject.last_seen_at < run.now))",
            "pass",
        ),
        (
            "a store that fails is silent",
            "            batch.quarantine(FOLDER, failure)\n            batch.count(errors=1)",
            "            pass",
        ),
        (
            "the folder's own object is written down",
            'set(batch.session.scalars(named)) - {""}',
            "set(batch.session.scalars(named))",
        ),
        ("objects seen once go", "UnclaimedObject.first_seen_at < now, ~claimed", "~claimed"),
    ),
    *breaks(
        "functions/community/cleanup_orphaned_files.py",
        ("tests/integration/example/jobs/test_cleanup_orphaned_files.py",),
        ("referred files are marked", "where=lambda run: ~referenced & Upload", "where=lambda run: Upload"),
        (
            "a mark stays on what is referred to again",
            "where=Upload.deleting_at.is_not(None) & referenced",
            "where=Upload.deleting_at.is_(None) & referenced",
        ),
    ),
    *breaks(
        "functions/community/finalize_deletions.py",
        ("tests/integration/example/jobs/test_finalize_deletions.py",),
        ("an error is not quarantined", '            batch.quarantine(f"data_requests:{request.id}", failure)\n', ""),
        (
            "a failed settle leaves half",
            "with savepoint(batch.session):\n                    outcome",
            "if True:\n                    outcome",
        ),
        ("an error's text quotes the person", "failure = type(error).__name__", "failure = str(error)"),
    ),
    *breaks(
        "functions/community/_due_deletions.py",
        ("tests/integration/example/jobs/test_finalize_deletions.py",),
        (
            "the youngest request comes first",
            ".order_by(DataRequest.requested_at, DataRequest.id)",
            ".order_by(DataRequest.requested_at.desc(), DataRequest.id)",
        ),
    ),
    *breaks(
        "functions/community/_deletion_requests.py",
        ("tests/integration/example/jobs/test_finalize_deletions.py",),
        (
            "a deleted super-admin counts",
            "User.deleted_at.is_(None), User.anonymized_at.is_(None))",
            "User.anonymized_at.is_(None))",
        ),
        (
            "an erased super-admin counts",
            "User.deleted_at.is_(None), User.anonymized_at.is_(None))",
            "User.deleted_at.is_(None))",
        ),
        ("blocked alerts nobody", '        _alert(session, run, request_id, "blocked", reason, refused)\n', ""),
        ("the last error stays when done", "completed_at=run.now, last_error=None)", "completed_at=run.now)"),
        ("legal hold of anybody blocks", "AuditLog.actor_id == user_id, AuditLog.legal_hold", "AuditLog.legal_hold"),
        (
            "a user is not locked while erased",
            "where(User.id == request.user_id).with_for_update()",
            "where(User.id == request.user_id)",
        ),
    ),
    *breaks(
        "functions/productivity/_counting.py",
        (
            "tests/integration/example/jobs/test_daily_analytics.py",
            "tests/integration/example/jobs/test_weekly_aggregation.py",
        ),
        (
            "users of the next day are active",
            "UserActivityDay.day < period.end.date()",
            "UserActivityDay.day <= period.end.date()",
        ),
        (
            "a user counts once a day",
            "func.count(distinct(UserActivityDay.user_id))",
            "func.count(UserActivityDay.user_id)",
        ),
        (
            "a goal that was reopened counts as completed",
            "done & within(Goal.completed_at, period)",
            "within(Goal.completed_at, period)",
        ),
    ),
    *breaks(
        "functions/productivity/_people.py",
        (
            "tests/integration/example/jobs/test_daily_check.py",
            "tests/integration/example/jobs/test_weekly_review.py",
            "tests/integration/example/jobs/test_inactive_users.py",
        ),
        ("anybody's mail counts", "row.recipient == cast(people.c.recipient, Text), row.channel", "row.channel"),
    ),
    *breaks(
        "functions/productivity/data_cleanup.py",
        ("tests/unit/example/test_limits.py", "tests/integration/example/jobs/test_data_cleanup.py"),
        ("goals are archived again", " & Goal.archived_at.is_(None),\n", ",\n"),
        (
            "the monitor's figures go too",
            '            where=MetricRollup.scope.not_like("perf\\\\_%"),',
            '            where=MetricRollup.scope != "",',
        ),
    ),
    *breaks(
        "functions/productivity/monthly_insights.py",
        ("tests/integration/example/jobs/test_monthly_insights.py",),
        (
            "never seen is active",
            "or_(last_seen.is_(None), last_seen < run.ago(CHURNED))",
            "last_seen < run.ago(CHURNED)",
        ),
    ),
    *breaks(
        "functions/productivity/performance_metrics.py",
        ("tests/integration/example/jobs/test_performance_metrics.py",),
        ("an hour is noted twice", "if broken and rule not in known", "if broken"),
    ),
    *breaks(
        "functions/productivity/_server_samples.py",
        ("tests/integration/example/jobs/test_performance_metrics.py",),
        (
            "a text is taken for a number",
            '(func.jsonb_typeof(MetricRollup.data[key]) == "number", ',
            '(func.jsonb_typeof(MetricRollup.data[key]) != "null", ',
        ),
    ),
    *breaks(
        "functions/productivity/user_behavior.py",
        ("tests/integration/example/jobs/test_user_behavior.py",),
        ("seven windows are known", "windows >= FEWEST_WINDOWS", "windows >= FEWEST_WINDOWS - 1"),
        (
            "the window itself is its history",
            ", MetricRollup.period_start < start)",
            ", MetricRollup.period_start <= start)",
        ),
        (
            "a text is a sample",
            'case((func.jsonb_typeof(stored) == "number", cast(stored.astext, Numeric)))',
            "cast(stored.astext, Numeric)",
        ),
    ),
    *breaks(
        "functions/tracking/_anniversaries.py",
        ("tests/integration/example/jobs/test_reminder_generation.py",),
        (
            "deleted people are reminded",
            "deleted_at is null and anonymized_at is null and id",
            "anonymized_at is null and id",
        ),
        (
            "other events keep quiet",
            "user_id = due.user_id and event_type = 'zakat_anniversary_approaching'\n",
            "user_id = due.user_id\n",
        ),
        ("a window begins with the last of the one before", "and id > :after", "and id >= :after"),
    ),
    *breaks(
        "functions/tracking/summary_regeneration.py",
        ("tests/integration/example/jobs/test_summary_regeneration.py",),
        (
            "the newest change comes first",
            "order_by(AnnualSummary.id.is_not(None), ACTIVITY, ",
            "order_by(AnnualSummary.id.is_not(None), ACTIVITY.desc(), ",
        ),
        (
            "those without a summary come last",
            "order_by(AnnualSummary.id.is_not(None), ",
            "order_by(AnnualSummary.id.is_(None), ",
        ),
    ),
    *breaks(
        "functions/tracking/_summaries.py",
        ("tests/integration/example/jobs/test_summary_regeneration.py",),
        (
            "somebody else's year before",
            "(previous.user_id == YearlySnapshot.user_id)\n            & previous",
            "previous",
        ),
        ("a secondary snapshot is the year before", "            & previous.is_primary\n", ""),
        (
            "activity goes back",
            "func.greatest(AnnualSummary.source_activity_at, found.activity)",
            "func.least(AnnualSummary.source_activity_at, found.activity)",
        ),
    ),
    *breaks(
        "functions/administration/token_cleanup.py",
        ("tests/integration/example/jobs/test_token_cleanup.py",),
        (
            "a closed key counts from its expiry",
            "func.coalesce(ApiKey.revoked_at, ApiKey.expires_at)",
            "ApiKey.expires_at",
        ),
    ),
    *breaks(
        "functions/administration/audit/archive.py",
        ("tests/integration/example/jobs/test_audit_log_cleanup.py",),
        ("a damaged manifest counts", "    if files.read(manifest_key(part.key)) != content:", "    if False:"),
        (
            "metadata is not redacted again",
            'func.nightshift.redact(AuditLog.metadata_).label("metadata")',
            'AuditLog.metadata_.label("metadata")',
        ),
    ),
    *breaks(
        "functions/administration/audit/marking.py",
        ("tests/integration/example/jobs/test_audit_log_cleanup.py",),
        ("a trial's mark stays", "        trial.rollback()\n", "        pass\n"),
    ),
    *breaks(
        "functions/administration/health_check.py",
        ("tests/integration/example/jobs/test_health_check.py",),
        (
            "a replica that is gone keeps its alert",
            "if name not in found or found[name]",
            "if name in found and found[name]",
        ),
        ("memory of long ago counts", "\" and period_end > cast(:now as timestamptz) - interval '30 minutes'\"", '""'),
        ("the oldest figures count", '" order by period_start desc limit 1"', '" order by period_start limit 1"'),
    ),
    *breaks(
        "functions/administration/health/server.py",
        ("tests/integration/example/jobs/test_performance_monitor.py",),
        ("our own connection counts", " and pid <> pg_backend_pid()", ""),
        ("other databases count", "where datname = current_database() and backend_type", "where backend_type"),
        (
            "counters of another form are subtracted",
            "    if not isinstance(before, dict) or not all(is_figure(before.get(key)) for key in COUNTED):",
            "    if not before:",
        ),
    ),
    *breaks(
        "functions/administration/performance_monitor.py",
        ("tests/integration/example/jobs/test_performance_monitor.py",),
        ("figures of all scopes go", "where=MetricRollup.scope == scope", "where=MetricRollup.scope != ''"),
    ),
    *breaks(
        "functions/community/finalize_deletions.py",
        ("tests/integration/example/test_refused_at_the_commit.py",),
        ("what somebody locks is waited for", "pending.with_for_update(skip_locked=True)", "pending.with_for_update()"),
        (
            "a locked account counts as a failure",
            "                if is_passing(error):  # a lock or a deadlock",
            "                if False:",
        ),
    ),
    *breaks(
        "functions/productivity/data_cleanup.py",
        ("tests/integration/example/jobs/test_data_cleanup.py",),
        (
            "a week's figures count for a day",
            '        MetricRollup.scope == "day",\n        MetricRollup.period_start',
            "        MetricRollup.period_start",
        ),
    ),
    *breaks(
        "functions/administration/health/performance.py",
        ("tests/integration/example/jobs/test_performance_monitor.py",),
        (
            "the oldest sample is subtracted",
            "earlier.order_by(MetricRollup.period_start.desc())",
            "earlier.order_by(MetricRollup.period_start)",
        ),
    ),
    *breaks(
        "functions/community/delete_audit_logs.py",
        ("tests/integration/example/test_refused_at_the_commit.py",),
        ("a locked archive is silent", "    batch.leave_locked(WHAT_LOCKED_IS)\n", "    pass\n"),
        ("a locked archive is waited for", ", skip_locked=True))", "))"),
    ),
    *breaks(
        "functions/tracking/reminder_generation.py",
        ("tests/integration/example/test_refused_at_the_commit.py",),
        ("one locked account stops all reminders", "write, leave, leave_locked)", "write, leave)"),
    ),
    *breaks(
        "functions/administration/reports/weekly.py",
        ("tests/integration/example/jobs/test_weekly_report.py",),
        ("a day of another form is summed", "    return is_figure(value)\n", "    return value is not None\n"),
        ("lists of any length are summed", "len(value) == int(unit.split()[0]) and ", ""),
        ("what is no number is compared", "known = is_figure(then) and then", "known = then"),
    ),
    *breaks(
        "functions/administration/weekly_report.py",
        ("tests/integration/example/test_refused_at_the_commit.py",),
        ("refused days are not told in the plan", "sample=tuple(keys[:5]), notes=notes)", "sample=tuple(keys[:5]))"),
    ),
)
