"""How MQTT to SQL is usually written: aiomqtt, ten handlers at once, an ORM session and a commit for each message.

aiomqtt acknowledges on receipt, so this loses messages when it dies. Like the examples it follows, it runs on asyncio's
own event loop.
"""

import asyncio
import json
import signal

import aiomqtt
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from app.models import SensorReading
from benchmarks.load.workload import SUBSCRIPTION
from benchmarks.peers.order import Order

HANDLERS = 10


async def handle(client: aiomqtt.Client, sessions: async_sessionmaker) -> None:
    """Take messages from the client, each into a transaction of its own."""
    async for message in client.messages:
        reading = json.loads(message.payload)
        async with sessions() as session:
            row = SensorReading(
                device_id=message.topic.value.split("/")[1],
                sensor_id=reading["sensor_id"],
                sensor_type=reading["sensor_type"],
                value=reading["value"],
                unit=reading["unit"],
                timestamp=reading["timestamp"],
            )
            session.add(row)
            await session.commit()
            await session.refresh(row)


async def serve(order: Order) -> None:
    """Run until cancelled."""
    engine = create_async_engine(order.url, pool_size=HANDLERS)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with aiomqtt.Client("127.0.0.1", order.port, identifier=order.client_id, clean_session=False) as client:
        await client.subscribe(SUBSCRIPTION, qos=1)
        async with asyncio.TaskGroup() as handlers:
            for _ in range(HANDLERS):
                handlers.create_task(handle(client, sessions))


async def main(order: Order) -> None:
    """Run until a signal comes."""
    service = asyncio.create_task(serve(order))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.cancel)
    await asyncio.wait([service])
    if not service.cancelled():
        service.result()


if __name__ == "__main__":
    asyncio.run(main(Order.given()))
