"""What the name and the columns of a table prove of its rows, and what leaves a doubt."""

import re
from collections.abc import Iterator, Mapping

import pytest

from nightshift.catalogue.kinds import is_entity, judged, soon_worthless
from nightshift.catalogue.names import role_of, seldom
from nightshift.catalogue.proposals import ages_of

PROVEN = {
    "secret": """
        sessions(token, user_id, expires_at) sessions(id, payload, last_activity)
        Session(sessionToken, userId, expires) sessions(sid, sess, expire) session(key, data, expiry)
        spring_session(primary_id, session_id, expiry_time) devise_sessions(session_id, data, updated_at)
        user_session(auth_method, ip_address, last_session_refresh)
        threepid_validation_session(session_id, medium, client_secret, validated_at)
        ui_auth_sessions(session_id, creation_time, uri, method) active_sessions(session_id, user_id, expires_at)
        oauth_access_tokens(expires_in, revoked_at) personal_access_tokens(token, expires_at)
        revoked_token(id, expire) one_time_tokens(user_id, token_type, token_hash, created_at)
        password_resets(email, token, created_at) mfa_challenges(factor_id, verified_at, ip_address, otp_code)
        email_verifications(token, expires_at) account_emailconfirmation(created, sent, key)
        magic_links(code, expires_at) recovery_codes(code, used_at) distributed_lock(key, owner, expires_at)
        cache_locks(key, owner, expiration) password_reset_request(token, created_at)
        ResetPasswordRequest(email, expires) email_verification(email, verification_token, created_at)
        magic_link_tokens(token, email, expires_at) session_tokens(user_id, expires_at)
        acme_session(sid, sess, expired) selfservice_login_flows(request_url, csrf_token, expires_at)
        oauth_states(nonce, expires_at) login_flow_v2(poll_token, created_at) jwt_denylist(jti, exp)
        oauth2_blacklisted_jti(signature, expires_at)
        persistent_logins(username, series, token, last_used) oauth2_codes(subject, expires_at)
        access_codes(code, redirect_uri, scope, expires_at) device_refresh_tokens(token, platform, expires_at)
        sessions(token, ip, location, expires_at)
    """,
    "cache": """
        cache(key, value, expiration) api_response_cache(body, expires_at) set(key, score, value, expireat)
        cache_data(cache_key, data, expires) idempotency_keys(key, response, expires_at)
    """,
    "log": """
        request_logs(created_at) log_parent(id, logged_at, line) EmailLog(id, createdAt)
        hook_logs(response_status, at) web_hook_logs_daily(web_hook_id, url, created_at)
        log(dttm, dag_id, task_id, event, owner, extra) ir_logging(create_date, name, level, message)
        search_logs(term, user_id, created_at) app_logs(level, msg, at)
        spam_logs(source_ip, user_agent, title, created_at) warning(id, type, created_on) page_hits(at, n)
        telescope_entries(sequence, batch_id, content, created_at) telescope_monitoring_log(tag, exception, at)
        webhook_deliveries(created_at) axes_accessattempt(user_agent, ip_address, attempt_time)
        login_attempts(email, success, attempted_at) user_login_history(user_id, login_at)
        http_requests(path, created_at) execution_entity(startedAt, stoppedAt, workflowId)
        dag_run(dag_id, run_id, start_date, end_date)
        django_celery_results_taskresult(task_id, traceback, date_done) webhook_calls(url, payload, exception, at)
        import_error(timestamp, filename, stacktrace) topic_views(topic_id, viewed_at, ip_address) größe_日_logs(at)
        audio_errors(player, stack_trace, exception, at) bruteforce_attempts(action, subnet, occurred)
        action_log(input_payload, request_headers, created_at) query_execution(hash, started_at)
        page_views(path, at) acme_accessfailurelog(ip_address, user_agent, path, attempt_time)
        failed_logins(ip, created_at) cpu_metrics(value, recorded_at) acme_logs(level, logged_at)
        cron_runs(name, status, started_at, finished_at)
    """,
    "event": """
        tbl_events(id, at, tenant, hidden) event_entity(event_time, ip_address) feature_events(user_id, feature, at)
        authentication_events(ip_address, provider, created_at)
        web_hook_events(headers, payload, status, created_at) user_visits(ip, user_agent, visited_at)
        login_activities(user_agent, created_at) website_event(url_path, url_query, created_at)
        analytics_events(name, properties, created_at)
    """,
    "queue": """
        jobs(queue, payload, attempts, created_at) q_jobs(id, state, finished_at, archived_at)
        hf.job(statename, expireat) import_jobs(status, cancelled_at, finished_at)
        email_jobs(queue, sent_at, completed_at)
        job_batches(name, total_jobs, failed_jobs, cancelled_at, finished_at)
        celery_taskmeta(task_id, status, date_done, traceback) delayed_jobs(handler, run_at, failed_at)
        tasks(worker_id, args, completed_at) outbox_messages(payload, processed_at) OutboxMessage(Body, SentTime)
        outbox_events(aggregate_id, payload, created_at, published_at) event_outbox(payload, published_at)
        inbox_state(MessageId, Received, Consumed) processed_messages(message_id, processed_at)
        dead_letters(payload, failed_at) webhook_events(payload, created_at, processed_at)
        IntegrationEventLog(EventId, State, TimesSent, CreationTime, Content)
        event_publication(listener_id, serialized_event, completion_date) workflow_runs(state, created_at)
    """,
    "notification": """
        notifications(title, body, read_at, created_at) push_notifications(body, created_at)
        acme_alarm_notifications(user_id, created_at)
    """,
    "cart": "shopping_carts(updated_at) guest_carts(token, updated_at) baskets(user_id, updated_at)",
    "bookkeeping": "schema_migrations(inserted_at) databasechangelog(dateexecuted) background_migration_jobs(payload)",
}

DOUBTED = {
    "legal": """
        voting_sessions(token, expires_at) transfer_requests(ip, created_at) breach_notifications(created_at)
        audit_logs(ip, created_at) user_consents(created_at) versions(item_type, object, created_at)
        order_events(created_at) payment_tokens(token, expires_at) card_tokens(token, expires_at)
        vote_tokens(used_at) order_confirmations(order_id, created_at) booking_confirmations(created_at)
        checkout_sessions(token, expires_at) insurance_verifications(token, created_at)
        contract_verifications(code, expires_at) gift_baskets(price, updated_at)
        members_subscribe_events(member_id, created_at) opt_out_logs(user_id, created_at)
        ban_logs(reason, expires_at) giftcard_giftcardevent(date) dispute_events(id, created_at)
        stripe_events(payload, created_at) terms_acceptance_logs(ip, user_agent, created_at)
        admin_action_logs(action, ip, created_at) account_deletion_requests(ip, created_at)
        refund_jobs(queue, finished_at) loan_notifications(created_at)
        carts(customer_id, completed_at, updated_at) baskets(status, date_submitted, updated_at)
        carts(payment_id, updated_at) user_histories(acting_user_id, ip_address, previous_value, created_at)
        activity_logs(old_values, new_values, ip_address, created_at) page_log_entries(content_changed, url, at)
        activity_log(causer_id, ip, created_at) data_change_events(before, after, ip, created_at)
        operation_logs(operator, method, ip, created_at) security_events(ip, created_at)
        user_action_logs(ip_address, created_at) ad_impressions(at) affiliate_clicks(ip, url, clicked_at)
        reward_tokens(user_id, token, expires_at) zahlung_logs(level, created_at) pago_events(url, ip, created_at)
        pagamento_webhook_logs(payload, created_at) facture_tokens(token, expires_at)
        Aufträge_jobs(queue, payload, finished_at)
    """,
    "people": """
        test_attempts(ip, user_agent, started_at) telehealth_sessions(token, ip, expires_at)
        events(organizer_id, name, location, date) event_event(name, date_begin, date_end, create_date)
        calendar_event(name, start, stop, create_date) company_events(name, start_time, created_at)
        sessions(speaker_id, abstract, session_type, updated_at) coaching_sessions(session_notes, updated_at)
        therapy_sessions(session_key, updated_at) game_sessions(save_data, last_activity_at)
        charging_sessions(kwh, meter_data, ended_at) photo_sessions(outside, updated_at)
        yoga_sessions(booking_key, updated_at) chat_sessions(session_key, expires_at)
        todo_tasks(priority, completed_at) job_history(employee_id, started_on, ended_on)
        client_calls(client_id, notes, started_at) health_metrics(kind, value, recorded_at)
        device_requests(employee_id, reason, created_at) employee_warnings(reason, created_at)
        leases(tenant_id, rent, expires_at) vehicle_leases(expires_on) door_locks(serial, expires_at)
        security_tokens(isin, name, expires_at) golf_carts(serial, updated_at) exam_attempts(answers, started_at)
        deliveries(driver_id, dropoff, delivered_at) stock_deliveries(supplier_id, received_at)
        challenges(title, expires_at) doctor_visits(diagnosis, visited_at) vehicle_crashes(injuries, reported_at)
        medication_logs(dose, created_at) attendance_logs(ip, created_at)
        inventory_logs(product_id, delta, created_at) shipment_events(occurred_at) time_logs(hours, ended_at)
        mail_activity(date_deadline, create_date) security_tickets(subject, expires_at)
        jobs(title, company, attempts, finished_at) student_login_history(login_at)
        application_history(loan_id, state, created_at) triage_logs(request_id, created_at)
        push_tokens(token, platform, expires_at) device_tokens(device_id, token, revoked_at)
        tokens(fcm_token, user_id, expires_at) deliveries(address, url, delivered_at)
        events(name, description, ip, created_at) task_results(pupil, run_id, created_at)
        form_responses(answers, ip, created_at)
        signing_sessions(token, ip, expires_at) approval_tasks(workflow_id, approver, completed_at)
    """,
    "proof": """
        mobile_verifications(code, verified_on, created_at)
        identity_verifications(status, token, created_at) phone_verifications(phone, code, verified_at, created_at)
        email_confirmations(token, confirmed_at, created_at) age_verifications(code, approved_at, created_at)
    """,
    "store": """
        events(entity_id, entity_version, ip, created_at) events(conversation_id, sender_id, created_at)
        events(room_id, sender, content, received_ts) mt_events(seq_id, stream_id, version, timestamp)
        events(event_id, causation_id, correlation_id, created_at) event_store_events(event_id, data, created_at)
        stored_events(event_class, created_at) aggregate_events(payload, occurred_at)
        domain_events(payload, occurred_on) journal_events(persistence_id, sequence_nr, created_at)
        events(aggregate_id, payload, ip, created_at) event_log(aggregate_id, sequence_number, payload, created_at)
    """,
    "unproven": """
        access_grants(role, expires_at) nft_tokens(token, owner, expires_at) laundry_tokens(code, used_at)
        phone_links(expires_at) employment_verifications(code, created_at) delivery_confirmations(token, created_at)
        webinar_events(url, created_at) app_responses(payload, created_at)
        construction_jobs(worker, status, completed_at) coding_challenges(name, code, expires_at)
        events(name, created_at) work_logs(user_id, minutes, created_at)
        resource_label_events(action, issue_id, created_at) tasks(project_id, name, status, priority, completed_at)
        jobs(customer_id, description, status, completed_at)
        access_requests(user_id, project_id, status, created_at) client_requests(client_id, body, created_at)
        sign_requests(user_id, signed_at, created_at) App_RoutingForms_FormResponse(formId, response, createdAt)
        workflow_history(versionId, authors, nodes, createdAt) query_history(uid, queries, comment, created_at)
        notification_requests(account_id, created_at) data_export_requests(user_id, status, completed_at)
        account_warnings(text, created_at) application_requests(date, req_type, count)
        captains_logs(body, created_at) user_visits(visited_at, posts_read) coding_challenges(name, expires_at)
        sessions(room, data, updated_at) recording_sessions(session_id, data, updated_at) deliveries(created_at)
        pad_locks(owner, expires_at) arcade_tokens(machine, expires_at) print_jobs(status, completed_at)
        email_history(contact_id, created_at) schema_history_logs(created_at)
        access_codes(code, room, valid_until) guest_access_codes(code, valid_until) gate_access_links(token, expires_at)
        contact_requests(name, email, message, ip_address, user_agent, created_at)
        demo_requests(email, ip, referrer, created_at) access_requests(reason, ip, created_at)
        data_requests(method, created_at)
        comments_log(body, ip, created_at) document_events(document_id, ip, user_agent, created_at)
        bus_logs(route, created_at) captain_log(path, created_at) dive_logs(duration_m, created_at)
        page_logs(editor, created_at)
        water_level_logs(level:int4, created_at) metering_warnings(level, created_at)
        visitors_log(name, host, created_at) policy_exceptions(path, created_at) scan_results(host, ip, created_at)
        tasks(text, topic, done_at) user_tasks(name, command, completed_at) cleaning_tasks(room, attempt, done_at)
        periodic_tasks(queue, task_name, expires_at) cron_jobs(command, enabled, expires_at)
        celery_beat_tasks(queue, args, last_run_at, expires_at) user_inbox(user_id, message, sent_at)
        outbox(to_email, body, sent_at) waitlist_notifications(created_at) production_runs(machine, hostname, ended_at)
    """,
}

NOTHING = """
    users(created_at, last_seen_at) orders(expires_at) messages(payload, created_at) friend_requests(created_at)
    price_history(created_at) password_history(hash, created_at) api_keys(last_used_at) session_users(created_at)
    pull_requests(url, created_at) form_responses(body, created_at)
    blogs(created_at) price_rules(key, value, expires_at)
    promo_codes(code, expires_at) invoices(created_at) token_denylist(jti, created_at)
    feature_flags(key, value, expires_at) secrets(key, data, expires_at) entitlements(key, value, valid_until)
    api_keys(key, data, expires_at) team_logins(created_at) cash_flow(created_at)
"""


def tables(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for name, columns in re.findall(r"(\S+)\(([^)]*)\)", text):
        names = re.split(r", *", columns)
        typed = (each.partition(":") for each in names)
        yield (
            name.rpartition(".")[2],
            {each: kind or ("timestamptz" if role_of(each) else "text") for each, _, kind in typed},
        )


@pytest.mark.parametrize(("kind", "told"), PROVEN.items(), ids=PROVEN)
def test_what_machines_write_for_a_time_is_known(kind: str, told: str) -> None:
    found = {f"{name}{list(columns)}": judged(name, columns) for name, columns in tables(told)}

    assert {name: (each.kind, each.doubt) for name, each in found.items()} == dict.fromkeys(found, (kind, None))


@pytest.mark.parametrize(("doubt", "told"), DOUBTED.items(), ids=DOUBTED)
def test_what_may_be_somebodys_is_in_doubt_with_the_reason(doubt: str, told: str) -> None:
    found = {f"{name}{list(columns)}": judged(name, columns).doubt for name, columns in tables(told)}

    assert found == dict.fromkeys(found, doubt)


def test_what_an_application_is_about_is_not_even_looked_at() -> None:
    found = {name: judged(name, columns) for name, columns in tables(NOTHING)}

    assert {name: (each.kind, each.doubt) for name, each in found.items()} == dict.fromkeys(found, (None, None))


def test_the_tags_of_a_log_are_a_part_of_it_and_people_are_part_of_nothing() -> None:
    assert not is_entity("request_log_tags", beside="request_logs")
    assert not is_entity("telescope_entries_tags", beside="telescope_entries")
    assert is_entity("tags", beside="request_logs")
    assert is_entity("session_users", beside="sessions")
    assert is_entity("order_tags", beside="request_logs")


def test_of_the_ways_in_which_work_ends_the_usual_one_comes_first() -> None:
    columns = ["cancelled_at", "sent_at", "failed_at", "finishedAt", "date_done", "archived_on", "publishedAt"]

    assert sorted(columns, key=seldom)[:2] == ["finishedAt", "date_done"]
    assert {seldom(each) for each in ("cancelled_at", "failed_at", "archived_on", "discarded_at")} == {2}
    assert {seldom(each) for each in ("sent_at", "publishedAt", "delivered")} == {1}


def test_codes_for_one_time_are_worth_nothing_soon() -> None:
    once = {"one_time_tokens", "OneTimeToken", "password_resets", "otp_codes", "magic_links", "mfa_challenges"}
    others = {"access_tokens", "reset_denylist", "revoked_otps", "sessions"}

    assert {each for each in once | others if soon_worthless(each)} == once


@pytest.mark.parametrize(
    ("table", "age"),
    [
        ("revoked_tokens(jti, revoked_at, created_at)", None),
        ("blacklisted_tokens(token, revoked_at, expires_at)", "expires_at"),
        ("oauth_tokens(access_token, refresh_token, user_id, expires_at)", None),
        ("oauth_tokens(access_token, refresh_token, expires_at, revoked_at)", "revoked_at"),
        ("oauth_tokens(accessTokenExpiresAt, refreshToken, refreshTokenExpiresAt)", "refreshTokenExpiresAt"),
        ("refresh_tokens(refresh_token, user_id, expires_at)", "expires_at"),
        ("api_tokens(provider, access_token, expires_at)", None),
        ("persistent_logins(series, token, last_used)", "last_used"),
        ("user_tokens(token, last_used)", None),
    ],
)
def test_a_secret_is_worth_nothing_when_nothing_renews_it_and_a_revocation_when_it_has_expired(
    table: str, age: str | None
) -> None:
    ((name, columns),) = tables(table)
    found = judged(name, columns)
    timed = {each: base for each, base in columns.items() if base == "timestamptz"}

    first = next((column for _, _, column in ages_of({"name": name, "columns": columns}, "secret", timed)), None)

    assert (found.kind, found.doubt, first) == ("secret", None, age)
