"""What people are told. A job writes a row into the outbox; the dispatcher sends it."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.outbox.dispatcher import MAILS_A_DAY as MAILS_A_DAY, dispatch as dispatch
    from nightshift.outbox.kinds import OPERATORS as OPERATORS, check_kind as check_kind, notice_kinds as notice_kinds
    from nightshift.outbox.local_time import (
        TICK as TICK,
        DueZone as DueZone,
        LocalMoment as LocalMoment,
        local_date_of as local_date_of,
        midnight as midnight,
        window_start as window_start,
        zone_names as zone_names,
    )
    from nightshift.outbox.mail import (
        Mail as Mail,
        UnsendableError as UnsendableError,
        render as render,
        render_sample as render_sample,
    )
    from nightshift.outbox.notices import (
        Via as Via,
        Written as Written,
        message as message,
        named as named,
        pending as pending,
        tell_operators as tell_operators,
        write as write,
    )
    from nightshift.outbox.outlets import (
        Allowance as Allowance,
        NotSent as NotSent,
        Outlets as Outlets,
        Refused as Refused,
        Throttled as Throttled,
        Unclear as Unclear,
        Unverified as Unverified,
    )
    from nightshift.outbox.pager import page as page
    from nightshift.outbox.parcels import MOST_TRIES as MOST_TRIES
    from nightshift.outbox.people import (
        People as People,
        due_zones as due_zones,
        everybody as everybody,
        part_of as part_of,
        people_of as people_of,
    )
    from nightshift.outbox.tables import Notification as Notification

__getattr__ = face(
    __name__,
    dispatcher="MAILS_A_DAY dispatch",
    kinds="OPERATORS check_kind notice_kinds",
    local_time="DueZone LocalMoment TICK local_date_of midnight window_start zone_names",
    mail="Mail UnsendableError render render_sample",
    notices="Via Written message named pending tell_operators write",
    outlets="Allowance NotSent Outlets Refused Throttled Unclear Unverified",
    pager="page",
    parcels="MOST_TRIES",
    people="People due_zones everybody part_of people_of",
    tables="Notification",
)
