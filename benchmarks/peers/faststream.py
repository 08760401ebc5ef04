"""FastStream's MQTT broker with ten workers and a SQLAlchemy commit for each message, as its documentation has it."""

import asyncio
import logging
from typing import Annotated

from faststream import FastStream, Path
from faststream.mqtt import MQTTBroker, QoS
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from app.models import SensorReading
from benchmarks.peers.order import Order

WORKERS = 10


class Reading(BaseModel):
    """The payload."""

    sensor_id: str
    sensor_type: str
    value: float
    unit: str
    timestamp: float


async def main(order: Order) -> None:
    """Run until a signal comes."""
    engine = create_async_engine(order.url, pool_size=WORKERS)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    broker = MQTTBroker(
        f"mqtt://127.0.0.1:{order.port}",
        client_id=order.client_id,
        clean_session=False,
        session_expiry_interval=3600,
        # No receive_maximum: Mosquitto before 2.0.13 exceeds it, and this client then disconnects.
        log_level=logging.DEBUG,  # of its access log, which the level of the logger then leaves out
    )

    @broker.subscriber("bench-0/{device_id}/reading", qos=QoS.AT_LEAST_ONCE, max_workers=WORKERS)
    async def store(payload: Reading, device_id: Annotated[str, Path()]) -> None:
        async with sessions() as session:
            session.add(SensorReading(device_id=device_id, **payload.model_dump()))
            await session.commit()

    await FastStream(broker).run()


if __name__ == "__main__":
    asyncio.run(main(Order.given()))
