"""Sealed amounts, and the only code that adds them up."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from application.sealed.aggregator import (
        Aggregator as Aggregator,
        SealedPayment as SealedPayment,
        SealedValueError as SealedValueError,
        Summary as Summary,
    )
    from application.sealed.values import Sealer as Sealer

__getattr__ = face(
    __name__,
    aggregator="Aggregator SealedPayment SealedValueError Summary",
    values="Sealer",
)
