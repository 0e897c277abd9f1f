"""A report as it is kept: its figures in the database, and in the file store for machines and for people."""

import json
from typing import Literal

from sqlalchemy import or_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from application.models import Report
from functions.administration.reports import page
from functions.administration.reports.figures import Data
from nightshift import Run
from nightshift.declaration import iso
from nightshift.steps import Period
from nightshift.store import FileStore

Kind = Literal["daily", "weekly", "monthly"]


def key_of(kind: Kind, period: Period) -> str:
    """Where a report is in the file store: the same for every run of its period. The page is beside it."""
    return f"reports/{kind}/{period.start:{'%Y-%m' if kind == 'monthly' else '%Y-%m-%d'}}.json"


def store(session: Session, files: FileStore, run: Run, kind: Kind, period: Period, data: Data) -> int:
    """Put a report to the file store and name it in the database. Returns the rows written: none if it stood there."""
    key = key_of(kind, period)
    told = {"kind": kind, "period_start": iso(period.start), "period_end": iso(period.end), "as_of": iso(run.now)}
    content = json.dumps({**told, "data": data}, indent=2, ensure_ascii=False).encode()
    files.write(key, content, content_type="application/json")
    html = page.page(kind, period, run.now, data).encode()
    files.write(page_key(key), html, content_type="text/html; charset=utf-8")
    facts = {"period_end": period.end, "data": data, "s3_key": key}
    row = insert(Report).values(kind=kind, period_start=period.start, created_at=run.now, **facts)
    return len(
        session.execute(
            row.on_conflict_do_update(
                index_elements=["kind", "period_start"],
                set_=facts | {"created_at": run.now},
                where=or_(*(getattr(Report, name).is_distinct_from(row.excluded[name]) for name in facts)),
            ).returning(Report.id)
        ).all()
    )


def page_key(key: str) -> str:
    return key.removesuffix(".json") + ".html"
