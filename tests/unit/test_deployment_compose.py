"""What docker-compose.yml promises, read from the file as a compose implementation resolves it."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import config
from tests.compose import PASSWORDS, ROOT, ComposeError, resolve

ONE_SHOT = {"broker-account"}
APPS = {"app": "database", "app-mysql": "mariadb"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything, the profile included."""
    return resolve(tmp_path_factory.mktemp("compose"), profile="mysql")


@pytest.fixture(scope="module")
def services(project: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = project["services"]
    return found


def test_starts_the_service_with_mosquitto_and_postgresql(tmp_path: Path) -> None:
    """Without a profile there are the broker, PostgreSQL and the service."""
    assert set(resolve(tmp_path)["services"]) == {"broker", "broker-account", "database", "app"}


def test_profile_adds_mariadb(services: dict[str, Any]) -> None:
    """The mysql profile adds MariaDB and a service that writes to it, and nothing else belongs to a profile."""
    assert {name for name, service in services.items() if "profiles" in service} == {"mariadb", "app-mysql"}
    assert services["app-mysql"]["profiles"] == services["mariadb"]["profiles"] == ["mysql"]


@pytest.mark.parametrize("absent", PASSWORDS)
@pytest.mark.parametrize("value", [None, ""])
def test_insists_on_passwords(absent: str, value: str | None, tmp_path: Path) -> None:
    """A password that is missing or empty stops everything, with the name of the variable to set."""
    environment = {name: password for name, password in PASSWORDS.items() if name != absent}
    if value is not None:
        environment[absent] = value
    with pytest.raises(ComposeError, match=f"set {absent}"):
        resolve(tmp_path, environment)


def test_has_no_password_of_its_own() -> None:
    """Every password comes from outside: each one is a reference to a variable without a default."""
    text = (ROOT / "docker-compose.yml").read_text()
    passwords = re.findall(r"^\s+\w*PASSWORD: *(.+)$", text, re.MULTILINE)
    assert passwords
    assert [value for value in passwords if not re.match(r"\$\{\w+:\?", value)] == ['"1"']  # "make a random one"


def test_every_container_is_confined(services: dict[str, Any]) -> None:
    """Root file systems are read-only, with a /tmp in memory; no capability, no way to new privileges."""
    for service in services.values():
        assert service["read_only"] is True
        assert "/tmp" in service["tmpfs"]  # noqa: S108
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "cap_add", "pid", "ipc"} & service.keys()
        assert service.get("network_mode", "none") == "none"  # never the host's


def test_nothing_runs_as_root(services: dict[str, Any]) -> None:
    """Images of others get a user here; the image of the service has its own."""
    assert {name for name, service in services.items() if "user" not in service} == set(APPS)
    for name in services.keys() - APPS.keys():
        assert not services[name]["user"].startswith("0")


def test_containers_come_back(services: dict[str, Any]) -> None:
    """What runs for months is restarted after a crash and a reboot; what runs once is not."""
    for name, service in services.items():
        assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")


def test_only_the_broker_is_reachable(services: dict[str, Any]) -> None:
    """The MQTT port is the only one that is published."""
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "broker": ["0.0.0.0:1883:1883"]
    }


def test_service_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    """The service starts when broker and database are healthy, the broker when its accounts are there."""
    for app, database in APPS.items():
        assert services[app]["depends_on"] == {
            "broker": {"condition": "service_healthy"},
            database: {"condition": "service_healthy"},
        }
        assert services[database]["healthcheck"]["test"]
    assert services["broker"]["healthcheck"]["test"]
    assert services["broker"]["depends_on"] == {"broker-account": {"condition": "service_completed_successfully"}}


def test_settings_are_valid(services: dict[str, Any]) -> None:
    """The environment of each service is one that the configuration accepts."""
    for app, database in APPS.items():
        settings = config.load(None, services[app]["environment"])
        assert settings.mqtt.broker == "broker"
        url = urlsplit(settings.database.url)
        account = {name.partition("_")[2]: value for name, value in services[database]["environment"].items()}
        assert url.hostname == database
        assert (url.username, unquote(url.password or "")) == (account["USER"], account["PASSWORD"])
        assert url.path.removeprefix("/") == account.get("DB", account.get("DATABASE"))


def test_broker_suits_the_service(services: dict[str, Any]) -> None:
    """The broker has as much in flight as the service's window holds, and keeps the session as long as it asks."""
    lines = (ROOT / "deploy" / "mosquitto" / "mosquitto.conf").read_text().splitlines()
    broker = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    settings = config.load(None, services["app"]["environment"])
    assert int(broker["max_inflight_messages"]) == settings.ingest.window
    assert broker["persistent_client_expiration"] == f"{settings.mqtt.session_expiry // 86_400}d"


def test_devices_and_services_have_ports_of_their_own(services: dict[str, Any]) -> None:
    """The published port ties client ids to accounts; the services use the other one."""
    text = (ROOT / "deploy" / "mosquitto" / "mosquitto.conf").read_text()
    listeners = {int(part.split()[0]): part for part in text.split("\nlistener ")[1:]}
    assert [True, False] == ["use_username_as_clientid true" in listeners[port] for port in (1883, 1884)]
    assert ["1884", "1884"] == [services[app]["environment"]["MQTT_PORT"] for app in APPS]
    assert "-p 1884 " in services["broker"]["healthcheck"]["test"][1]
    assert "1884" not in str(services["broker"]["ports"])


def test_client_ids_are_stable(services: dict[str, Any]) -> None:
    """Each service has a fixed client id of its own: the broker keeps the session under it."""
    names = {app: services[app]["environment"]["MQTT_CLIENT_ID"] for app in APPS}
    assert names == {"app": "mqueduct", "app-mysql": "mqueduct-mysql"}


def test_service_may_finish_its_work(services: dict[str, Any]) -> None:
    """The engine waits longer for the end of a container than the service takes to drain."""
    for app in APPS:
        drain = int(services[app]["environment"]["DRAIN_TIMEOUT"])
        assert int(services[app]["stop_grace_period"].removesuffix("s")) > drain


def test_data_lives_in_volumes(project: dict[str, Any]) -> None:
    """Everything that is stored is in a named volume, everything of the checkout is mounted read-only and exists."""
    used = set()
    for service in project["services"].values():
        for volume in service.get("volumes", []):
            source, _, mode = volume.split(":") if volume.count(":") == 2 else (*volume.split(":"), "")
            if source.startswith("./"):
                assert mode == "ro"
                assert (ROOT / source).is_file()
            else:
                used.add(source)
    assert used == set(project["volumes"])
    assert "storage:/app/storage" in project["services"]["app"]["volumes"]


def test_broker_is_recent(services: dict[str, Any]) -> None:
    """Mosquitto before 2.0.13 breaks Receive Maximum."""
    image, tag = services["broker"]["image"].split(":")
    assert image == "eclipse-mosquitto"
    assert tuple(int(part) for part in tag.split(".")) >= (2, 0, 22)
    assert services["broker"]["image"] == services["broker-account"]["image"]
