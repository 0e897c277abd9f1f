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
        "functions/community/finalize_deletions.py",
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
        ("rows that do not come in are not told", 'if cursor.rowcount != table["rows"]:', "if False:"),
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
)
