"""create the first tables

Revision: 0001, follows nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from core.model import BigId, Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", BigId, nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("email", sa.String(255), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("user_id", name=op.f("uq_users_user_id")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "devices",
        sa.Column("id", BigId, nullable=False),
        sa.Column("device_id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("device_type", sa.String(64), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("last_seen", Instant(), nullable=True),
        sa.Column("user_id", sa.String(64), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("device_id", name=op.f("uq_devices_device_id")),
    )
    op.create_index(op.f("ix_devices_user_id"), "devices", ["user_id"])
    op.create_table(
        "sensor_readings",
        sa.Column("id", BigId, nullable=False),
        sa.Column("device_id", sa.String(128), nullable=False),
        sa.Column("sensor_id", sa.String(128), nullable=False),
        sa.Column("sensor_type", sa.String(64), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("unit", sa.String(32), nullable=False),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sensor_readings")),
        sa.UniqueConstraint(
            "device_id",
            "sensor_id",
            "sensor_type",
            "timestamp",
            name=op.f("uq_sensor_readings_device_id_sensor_id_sensor_type_timestamp"),
        ),
        sa.CheckConstraint("device_id <> '' OR sensor_id <> ''", name=op.f("ck_sensor_readings_has_origin")),
    )
    op.create_index(op.f("ix_sensor_readings_device_id_timestamp"), "sensor_readings", ["device_id", "timestamp"])
    op.create_table(
        "transfer_logs",
        sa.Column("id", BigId, nullable=False),
        sa.Column("device_id", sa.String(128), nullable=False),
        sa.Column("from_user_id", sa.String(64), nullable=True),
        sa.Column("to_user_id", sa.String(64), nullable=True),
        sa.Column("timestamp", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer_logs")),
    )
    op.create_index(op.f("ix_transfer_logs_device_id_timestamp"), "transfer_logs", ["device_id", "timestamp"])
    # The framework's own.
    op.create_table(
        "mqueduct_subscriptions",
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("filters", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_mqueduct_subscriptions")),
    )
    op.create_table(
        "mqueduct_writers",
        sa.Column("writer", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("writer", name=op.f("pk_mqueduct_writers")),
    )
    op.create_table(
        "mqueduct_leases",
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("holder", sa.String(64), nullable=True),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_mqueduct_leases")),
    )
    op.create_table(
        "mqueduct_runs",
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("running", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_mqueduct_runs")),
    )
    op.create_table(
        "mqueduct_suspects",
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "fingerprint", name=op.f("pk_mqueduct_suspects")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", BigId, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("topic", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
        sa.Column("payload", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=True),
        sa.Column("qos", sa.SmallInteger(), nullable=False),
        sa.Column("retain", sa.Boolean(), nullable=False),
        sa.Column("properties", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
        sa.Column("route", sa.String(255), nullable=True),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("traceback", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("failed_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index(op.f("ix_dead_letters_fingerprint"), "dead_letters", ["fingerprint"])
    op.create_index(op.f("ix_dead_letters_failed_at"), "dead_letters", ["failed_at"])


def downgrade() -> None:
    op.drop_table("dead_letters")
    op.drop_table("mqueduct_suspects")
    op.drop_table("mqueduct_runs")
    op.drop_table("mqueduct_leases")
    op.drop_table("mqueduct_writers")
    op.drop_table("mqueduct_subscriptions")
    op.drop_table("transfer_logs")
    op.drop_table("sensor_readings")
    op.drop_table("devices")
    op.drop_table("users")
