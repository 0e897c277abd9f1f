"""What a function has logged, as `nightshift logs` prints it, with the log groups of moto."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from moto import mock_aws
from typer.testing import CliRunner, Result

from cli import log_groups
from cli.aws import AwsError
from cli.commands import application
from cli.log_groups import Following, LogGroups, NotNowError
from cli.log_records import line, raw
from nightshift.declaration import function_name

JOB = "abandoned-carts"
GROUP = f"/aws/lambda/{function_name(JOB)}"
RUN = "0123abcd-0000-4000-8000-000000000001"
REGION = "eu-central-1"
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
MINUTE = dt.timedelta(minutes=1)

CLAIMED = {
    "level": "INFO",
    "location": "log:58",
    "message": "run.claimed",
    "timestamp": "2026-03-11T03:00:01.234+01:00",
    "service": "nightshift",
    "job": JOB,
    "request_id": "r-1",
    "run_id": RUN,
    "attempt": 1,
    "counters": {"deleted": 7},
}
MEASURED = {
    "_aws": {
        "Timestamp": 1,
        "CloudWatchMetrics": [{"Namespace": "Nightshift", "Metrics": [{"Name": "RunsSucceeded", "Unit": "Count"}]}],
    },
    "service": "nightshift",
    "RunsSucceeded": [1.0],
}
REPORT = {
    "time": "2026-03-11T02:00:02.000Z",
    "type": "platform.report",
    "record": {"requestId": "r-1", "status": "success", "metrics": {"durationMs": 812.5}},
}


def event(message: Any, at: dt.datetime = dt.datetime(2026, 3, 11, 2, 0, 9, 7000, tzinfo=dt.UTC)) -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return {"eventId": "1", "timestamp": round(at.timestamp() * 1000), "message": text}


@pytest.fixture
def cloudwatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        yield boto3.client("logs", region_name=REGION)


@pytest.fixture
def log(cloudwatch: Any) -> Any:
    """Writes records into the log of the job: `log(ago, record)`."""
    cloudwatch.create_log_group(logGroupName=GROUP)
    cloudwatch.create_log_stream(logGroupName=GROUP, logStreamName="one")
    cloudwatch.create_log_stream(logGroupName=GROUP, logStreamName="two")

    def write(ago: dt.timedelta, record: Any, stream: str = "one") -> None:
        text = record if isinstance(record, str) else json.dumps(record)
        at = round((NOW - ago).timestamp() * 1000)
        events = [{"timestamp": at, "message": text}]
        cloudwatch.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)

    return write


def nightshift(*arguments: str) -> Result:
    return CliRunner().invoke(application, arguments)


# One record


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (CLAIMED, f'2026-03-11 02:00:01.234  INFO      run.claimed  run {RUN}  attempt=1  counters={{"deleted": 7}}'),
        ({**CLAIMED, "level": "ERROR", "run_id": None, "counters": None, "attempt": "two words"}, None),
        (MEASURED, "2026-03-11 02:00:09.007  METRICS   RunsSucceeded 1.0"),
        (
            REPORT,
            "2026-03-11 02:00:02.000            platform.report  requestId=r-1  status=success  "
            'metrics={"durationMs": 812.5}',
        ),
        (
            "START RequestId: r-1 Version: $LATEST\n",
            "2026-03-11 02:00:09.007            START RequestId: r-1 Version: $LATEST",
        ),
        ("[1, 2]", "2026-03-11 02:00:09.007            [1, 2]"),
        ('{"half": ', '2026-03-11 02:00:09.007            {"half":'),
        ({"message": {"a": 1}, "timestamp": "soon"}, '2026-03-11 02:00:09.007            {"a": 1}'),
    ],
)
def test_a_record_is_one_line_with_time_level_message_and_run(message: Any, words: str | None) -> None:
    told = line(event(message)).plain
    if words is None:
        assert told == "2026-03-11 02:00:01.234  ERROR     run.claimed  attempt=two words  counters=null"
    else:
        assert told == words


def test_what_is_logged_cannot_take_over_the_terminal() -> None:
    villain = "\x1b[2J\x1b]0;owned\x07\nsecond line\r"
    for message in (villain, {**CLAIMED, "message": villain, "reason": villain, villain: villain, "level": villain}):
        told = line(event(message)).plain
        assert told.isprintable(), repr(told)
        assert "second line" in told


@pytest.mark.parametrize("message", [CLAIMED, MEASURED, REPORT, json.dumps(CLAIMED, indent=2) + "\n"])
def test_a_raw_record_is_what_was_logged_in_one_line(message: Any) -> None:
    told = raw(event(message))
    assert "\n" not in told
    assert json.loads(told) == (json.loads(message) if isinstance(message, str) else message)


def test_a_raw_text_becomes_an_object_too() -> None:
    told = json.loads(raw(event("REPORT\tDuration: 1 ms\n")))
    assert told == {"timestamp": "2026-03-11T02:00:09.007Z", "message": "REPORT\tDuration: 1 ms"}


# The command


def test_the_last_hour_is_printed_oldest_first(log: Any) -> None:
    log(90 * MINUTE, {**CLAIMED, "message": "too.old"})
    log(10 * MINUTE, {**CLAIMED, "message": "second"}, "two")
    log(20 * MINUTE, {**CLAIMED, "message": "first"})

    done = nightshift("logs", JOB)

    assert (done.exit_code, done.stderr) == (0, "")
    assert [text.split()[3] for text in done.stdout.splitlines()] == ["first", "second"]


@pytest.mark.parametrize(
    ("since", "count"),
    [
        ("30min", 1),
        ("2h", 2),
        ("1d", 3),
        ("a time", 2),
        ("999999d", None),
        ("90000000000d", None),
    ],
)
def test_since_is_a_length_of_time_or_a_time(log: Any, since: str, count: int | None) -> None:
    for ago in (10, 90, 300):
        log(ago * MINUTE, CLAIMED)

    done = nightshift("logs", JOB, "--since", (NOW - 100 * MINUTE).isoformat() if since == "a time" else since)

    if count is None:
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    else:
        assert (done.exit_code, done.stdout.count("\n")) == (0, count)


@pytest.mark.parametrize(
    ("since", "words"),
    [
        ("yesterday", "--since: 'yesterday' is not a time: write it like 2026-03-02T09:00:00Z; or say how long ago"),
        ("2026-03-02T09:00:00", "has no time zone"),
        ("2199-01-01T00:00:00Z", "--since 2199-01-01T00:00:00Z is in the future: give a past time"),
        ("-5min", "is not a time"),
    ],
)
def test_what_cannot_be_meant_is_refused(since: str, words: str) -> None:
    refused = nightshift("logs", JOB, f"--since={since}")
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert words in refused.stderr


def test_records_are_printed_raw_for_a_program(log: Any) -> None:
    log(2 * MINUTE, CLAIMED)
    log(MINUTE, "plain\n")

    done = nightshift("logs", JOB, "--json")

    first, second = map(json.loads, done.stdout.splitlines())
    assert (done.exit_code, first, second["message"]) == (0, CLAIMED, "plain")


def test_nothing_that_was_logged_is_said_on_standard_error(log: Any) -> None:
    log(90 * MINUTE, CLAIMED)
    done = nightshift("logs", JOB)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith(f"{JOB} has logged nothing since 2")
    assert done.stderr.endswith("(1 h ago). Go further back with --since, like --since 1d\n")


def test_a_function_of_the_platform_has_a_log_too(cloudwatch: Any) -> None:
    cloudwatch.create_log_group(logGroupName="/aws/lambda/staging-supervisor")
    done = nightshift("logs", "supervisor", "--name", "staging")
    assert (done.exit_code, "supervisor has logged nothing" in done.stderr) == (0, True)


def test_an_unknown_job_and_a_log_group_that_is_not_there_get_a_clear_sentence(cloudwatch: Any) -> None:
    unknown = nightshift("logs", "abandoned-cart")
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "no job is named 'abandoned-cart': did you mean abandoned-carts?\n",
    )
    for options in ([], ["--follow"]):
        missing = nightshift("logs", JOB, "--region", REGION, *options)
        assert (missing.exit_code, missing.stdout, missing.stderr.count("\n")) == (2, "", 1)
        assert missing.stderr.startswith(f"there is no log group {GROUP} in region {REGION}: nightshift-{JOB} is not")
        assert "make deploy" in missing.stderr


def test_more_than_one_page_is_read(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = LogGroups(region=REGION)._client()

    def small(params: Any, **_: Any) -> None:
        params["limit"] = 2

    client.meta.events.register("provide-client-params.logs.FilterLogEvents", small)
    monkeypatch.setattr(LogGroups, "_client", lambda _: client)
    for minutes in range(5):
        log(minutes * MINUTE, CLAIMED)
    assert nightshift("logs", JOB).stdout.count("\n") == 5


# Following


def test_following_prints_each_record_once_and_ctrl_c_ends_it(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log(2 * MINUTE, {**CLAIMED, "message": "first"})
    later = iter([("one", 0, "second"), ("two", 0.5, "late"), ("one", 0, "third")])

    def sleep(seconds: float) -> None:
        if (said := next(later, None)) is None:
            raise KeyboardInterrupt
        stream, ago, message = said
        log(ago * MINUTE, {**CLAIMED, "message": message}, stream)

    monkeypatch.setattr("cli.logs.sleep", sleep)
    done = nightshift("logs", JOB, "--follow")

    assert (done.exit_code, done.stderr) == (0, "")
    assert [text.split()[3] for text in done.stdout.splitlines()] == ["first", "second", "late", "third"]


def test_following_does_not_remember_what_cannot_come_again(log: Any) -> None:
    for minutes in (50, 40, 0):
        log(minutes * MINUTE, CLAIMED)
    reading = Following(LogGroups(region=REGION), function_name(JOB), NOW - 60 * MINUTE)

    assert [len(list(reading.news())) for _ in range(3)] == [3, 0, 0]
    assert len(reading._seen) == 1


def test_records_without_ids_are_told_apart_too(answers: list[Any]) -> None:
    """As those of the local AWS are, which has all that an invocation printed in one millisecond."""
    alike = [{**event("alike"), "logStreamName": "one"} for _ in range(2)]
    other = {**event("other"), "logStreamName": "one"}
    for each in (*alike, other):
        del each["eventId"]
    answers += [alike, [*alike, other], [*alike, other]]
    reading = Following(LogGroups(region=REGION), function_name(JOB), dt.datetime(2026, 3, 11, tzinfo=dt.UTC))

    told = [[each["message"] for each in reading.news()] for _ in range(3)]

    assert told == [["alike", "alike"], ["other"], []]


def answer(request: Any, code: int, body: dict[str, Any]) -> AWSResponse:
    class Raw:
        def stream(self, **_: Any) -> Iterator[bytes]:
            yield json.dumps(body).encode()

    headers = HTTPHeaders()
    headers["content-type"] = "application/x-amz-json-1.1"
    return AWSResponse(request.url, code, headers, Raw())


@pytest.fixture
def answers(cloudwatch: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """CloudWatch gives one answer after the other: the code of an error, an error, or events."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    given: list[Any] = []
    client = LogGroups(region=REGION)._client()

    def answered(request: Any, **_: Any) -> Any:
        one = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(one, BaseException):
            raise one
        if isinstance(one, str):
            return answer(request, 400, {"__type": one, "message": "in detail"})
        return answer(request, 200, {"events": one})

    client.meta.events.register_first("before-send.logs.FilterLogEvents", answered)
    monkeypatch.setattr(LogGroups, "_client", lambda _: client)
    return given


def test_throttling_is_survived(answers: list[Any]) -> None:
    answers += ["ThrottlingException"] * (log_groups.TRIES - 1) + [[event(CLAIMED)]]
    done = nightshift("logs", JOB)
    assert (done.exit_code, "run.claimed" in done.stdout, done.stderr) == (0, True, "")


def test_throttling_without_end_is_told_and_a_follower_goes_on(
    answers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.append("ThrottlingException")
    failed = nightshift("logs", JOB)
    assert (failed.exit_code, failed.stderr) == (2, "CloudWatch throttles or is unavailable: try again in a minute\n")

    turns: Iterator[list[Any]] = iter([["ThrottlingException"], ["ThrottlingException"], [[event(CLAIMED)]]])

    def sleep(_: float) -> None:
        if (turn := next(turns, None)) is None:
            raise KeyboardInterrupt
        answers[:] = turn

    monkeypatch.setattr("cli.logs.sleep", sleep)
    answers[:] = [[]]
    done = nightshift("logs", JOB, "-f")
    assert (done.exit_code, done.stdout.count("run.claimed")) == (0, 1)
    assert done.stderr.count("It is asked again") == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDeniedException", f"you may not read {GROUP}: you need logs:FilterLogEvents on it"),
        ("ExpiredTokenException", "AWS no longer accepts your credentials: sign in"),
        ("InvalidParameterException", f"CloudWatch refused to show {GROUP}: InvalidParameterException: in detail"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(answers: list[Any], code: str, words: str) -> None:
    answers.append(code)
    refused = nightshift("logs", JOB, "--follow")
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert refused.stderr.startswith(words)


def test_where_nobody_listens_is_one_line(monkeypatch: pytest.MonkeyPatch, cloudwatch: Any) -> None:
    monkeypatch.setattr("cli.log_groups.TRIES", 1)
    with pytest.raises(NotNowError, match="CloudWatch does not answer"):
        list(LogGroups(region=REGION, endpoint_url="http://127.0.0.1:1").events(function_name(JOB), NOW))


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(AwsError, match="is no URL"):
        LogGroups(endpoint_url="localhost")
