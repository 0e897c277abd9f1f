"""Schedules in words: true to the fire times, always in UTC."""

import pytest

from cli.schedule_words import in_words
from nightshift.declaration import Schedule


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("0 2 * * ? *", "every day at 02:00 UTC"),
        ("30 4 * * ? *", "every day at 04:30 UTC"),
        ("0 9,17 * * ? *", "every day at 09:00 and 17:00 UTC"),
        ("0 2 ? * * *", "every day at 02:00 UTC"),
        ("0 * * * ? *", "every hour, UTC"),
        ("5 * * * ? *", "every hour at :05, UTC"),
        ("10 * * * ? *", "every hour at :10, UTC"),
        ("* * * * ? *", "every minute, UTC"),
        ("0/5 * * * ? *", "every 5 minutes, UTC"),
        ("0/10 * * * ? *", "every 10 minutes, UTC"),
        ("0/15 * * * ? *", "every 15 minutes, UTC"),
        ("0/25 * * * ? *", "every hour at :00, :25 and :50, UTC"),
        (
            "*/25 9-17 ? * MON-FRI *",
            "every hour at :00, :25 and :50, between 09:00 and 17:59 UTC, Monday through Friday",
        ),
        ("0 0/6 * * ? *", "every 6 hours from 00:00 UTC"),
        ("0 1/6 * * ? *", "every 6 hours, starting at 01:00, UTC"),
        ("5/15 * * * ? *", "every 15 minutes, starting at 5 minutes past the hour, UTC"),
        ("30 0/6 * * ? *", "at 30 minutes past the hour, every 6 hours, UTC"),
        ("0 0/5 * * ? *", "every day at 00:00, 05:00, 10:00, 15:00 and 20:00 UTC"),
        ("0/10 20-2 ? * MON-FRI *", "every 10 minutes, between 20:00 and 02:59 UTC, Monday through Friday"),
        ("0 2 ? * SUN *", "every Sunday at 02:00 UTC"),
        ("30 3 ? * SUN *", "every Sunday at 03:30 UTC"),
        ("0 5 ? * L *", "every Saturday at 05:00 UTC"),
        ("0 2 ? * MON-FRI *", "at 02:00 UTC, Monday through Friday"),
        ("0 2 ? * MON#2 *", "at 02:00 UTC, on the second Monday of the month"),
        ("0 2 ? * FRIL *", "at 02:00 UTC, on the last Friday of the month"),
        ("0 3 1 * ? *", "on the 1st of every month at 03:00 UTC"),
        ("30 2 22 * ? *", "on the 22nd of every month at 02:30 UTC"),
        ("0 4 13 * ? *", "on the 13th of every month at 04:00 UTC"),
        ("0 4 L * ? *", "at 04:00 UTC, on the last day of the month"),
        ("0 4 15W * ? *", "at 04:00 UTC, on the weekday nearest day 15 of the month"),
        ("0 0 1/10 * ? *", "at 00:00 UTC, on day 1, 11, 21, and 31 of the month"),
        ("0 0 1 JAN/3 ? *", "at 00:00 UTC, on day 1 of the month, only in January, April, July, and October"),
        ("0 0 1 1 ? 2027", "at 00:00 UTC, on day 1 of the month, only in January, only in 2027"),
        ("0 2 * * ? 2026/5", "every day at 02:00 UTC, only in years 2026/5"),
    ],
)
def test_a_schedule_reads_as_one_would_say_it(fields: str, words: str) -> None:
    assert in_words(Schedule.parse(f"cron({fields})")) == words
    zoned = words.replace("UTC", "Europe/Berlin")
    assert in_words(Schedule.parse(f"cron({fields})", "Europe/Berlin")) == zoned
