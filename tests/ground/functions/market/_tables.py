"""The tables of a small shop: people, what they have in their carts, and the lines of a cart."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import ForeignKey, Identity, Index, MetaData, Time, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import BigInteger, Text

from nightshift.database.base import NAMING_CONVENTION, TYPES, CreatedNow, Off, Timestamp, UuidKey


class Base(DeclarativeBase):
    """The shop's own metadata."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = TYPES


class Customer(Base):
    """Somebody who can be told something, until they leave."""

    __tablename__ = "customers"
    __table_args__ = (
        Index("customers_zone", "timezone"),
        Index("customers_idle", text("coalesce(seen_at, created_at)")),
    )

    id: Mapped[UuidKey]
    name: Mapped[str] = mapped_column(server_default="Ann")
    email: Mapped[str]
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    quiet_start: Mapped[dt.time | None] = mapped_column(Time)
    quiet_end: Mapped[dt.time | None] = mapped_column(Time)
    channels: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{in_app,email}")
    wants: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    created_at: Mapped[CreatedNow]
    seen_at: Mapped[Timestamp | None]
    left_at: Mapped[Timestamp | None]
    carts: Mapped[int] = mapped_column(server_default="0")


class Cart(Base):
    """What somebody has in their cart, signed in or not."""

    __tablename__ = "carts"
    __table_args__ = (Index("carts_customer", "customer_id"), Index("carts_updated", "updated_at"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    customer_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Customer.id, ondelete="CASCADE"))
    note: Mapped[str | None]
    paid: Mapped[Off]
    updated_at: Mapped[CreatedNow]
    closed_at: Mapped[Timestamp | None]


class CartItem(Base):
    """One line of a cart."""

    __tablename__ = "cart_items"
    __table_args__ = (
        Index("cart_items_cart", "cart_id"),
        Index("cart_items_removed", "removed_at", postgresql_where=text("removed_at is not null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    cart_id: Mapped[int | None] = mapped_column(ForeignKey(Cart.id, ondelete="CASCADE"))
    product: Mapped[str | None]
    added_at: Mapped[CreatedNow]
    removed_at: Mapped[Timestamp | None]
