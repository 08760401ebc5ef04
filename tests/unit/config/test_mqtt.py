"""Settings of the connection to the broker."""

import pytest

import config
from core.mqtt.options import BrokerOptions, TLSOptions


def mqtt(**environ):
    return config.load(None, environ).mqtt


@pytest.fixture
def pem(tmp_path):
    """A readable file."""
    path = tmp_path / "file.pem"
    path.write_text("certificate")
    return str(path)


def test_embedded():
    """Without a broker the embedded one is used, by MQTT 3.1.1, on loopback."""
    settings = mqtt()

    assert settings.embedded
    assert BrokerOptions(host="127.0.0.1", protocol="3.1.1", receive_maximum=7) == settings.broker_options(7)


def test_embedded_keeps_its_protocol():
    """The embedded broker speaks MQTT 3.1.1 whatever is set."""
    assert "3.1.1" == mqtt(MQTT_PROTOCOL="5").protocol


def test_external_broker():
    """With a broker the defaults are those of the connection, by MQTT 5."""
    settings = mqtt(MQTT_BROKER="broker")

    assert not settings.embedded
    assert BrokerOptions(host="broker") == settings.broker_options(500)


def test_all_options(pem):
    """Every variable reaches the connection."""
    settings = mqtt(
        MQTT_BROKER="broker",
        MQTT_PORT="8084",
        MQTT_USERNAME="app",
        MQTT_PASSWORD="s3cret",
        MQTT_CLIENT_ID="plant-1",
        MQTT_PROTOCOL="3.1.1",
        MQTT_KEEPALIVE="30",
        MQTT_SESSION_EXPIRY="12h",
        MQTT_TRANSPORT="websockets",
        MQTT_WEBSOCKET_PATH="/ws",
        MQTT_STATUS_TOPIC="plant/status",
        MQTT_TLS_CA_FILE=pem,
        MQTT_TLS_CERT_FILE=pem,
        MQTT_TLS_KEY_FILE=pem,
        MQTT_TLS_KEY_PASSWORD="key",
    )

    assert BrokerOptions(
        host="broker",
        port=8084,
        client_id="plant-1",
        protocol="3.1.1",
        username="app",
        password="s3cret",
        keepalive=30,
        session_expiry=43_200,
        transport="websockets",
        websocket_path="/ws",
        tls=TLSOptions(ca_file=pem, cert_file=pem, key_file=pem, key_password="key"),
        status_topic="plant/status",
        receive_maximum=7,
    ) == settings.broker_options(7)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("broker", "broker"),
        ("my_broker", "my_broker"),
        ("mqtt.example.com", "mqtt.example.com"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_hosts(written, host):
    """A broker is a host name or an address."""
    assert host == mqtt(MQTT_BROKER=written).broker_options(1).host


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("mqtt://broker:1884", "split it: MQTT_BROKER=broker MQTT_PORT=1884;"),
        ("mqtts://broker", "split it: MQTT_BROKER=broker MQTT_TLS=true;"),
        (
            "wss://broker:443/mqtt",
            "split it: MQTT_BROKER=broker MQTT_PORT=443 MQTT_TLS=true MQTT_TRANSPORT=websockets;",
        ),
        ("mqtt://a:b@broker", "split it: MQTT_BROKER=broker MQTT_USERNAME and MQTT_PASSWORD;"),
        ("mqtt://broker:many", "split it: MQTT_BROKER, MQTT_PORT;"),
        ("broker:1884", "split it: MQTT_BROKER=broker MQTT_PORT=1884;"),
        ("my broker", "it is not a host name;"),
        ("broker/mqtt", "it is not a host name;"),
        ("broker\n", "it contains a control character"),
    ],
)
def test_wrong_hosts(problems, written, advice):
    """What is more than a host name is refused with advice."""
    assert advice in problems({"MQTT_BROKER": written})[0]


def test_port_with_tls():
    """With TLS the port defaults to 8883."""
    assert 8883 == mqtt(MQTT_BROKER="broker", MQTT_TLS="true").port


def test_own_port_with_tls():
    """A port that is given stays with TLS."""
    assert 1883 == mqtt(MQTT_BROKER="broker", MQTT_TLS="true", MQTT_PORT="1883").port


def test_ca_file_turns_tls_on(pem):
    """A certificate file turns TLS on by itself."""
    settings = mqtt(MQTT_BROKER="broker", MQTT_TLS_CA_FILE=pem)

    assert (TLSOptions(ca_file=pem), 8883) == (settings.broker_options(1).tls, settings.port)


def test_tls_off_with_ca_file(problems, pem):
    """TLS that is turned off beside a certificate file is a problem."""
    listed = problems({"MQTT_BROKER": "broker", "MQTT_TLS": "false", "MQTT_TLS_CA_FILE": pem})

    assert ["MQTT_TLS (environment): false, although there is a MQTT_TLS_*_FILE; remove one of the two"] == [
        line.rpartition("; allowed")[0] for line in listed
    ]


@pytest.mark.parametrize("name", ["MQTT_TLS_CERT_FILE", "MQTT_TLS_KEY_FILE"])
def test_certificate_and_key(problems, pem, name):
    """A certificate without a key, or a key without a certificate, is a problem."""
    assert "MQTT_TLS_CERT_FILE and MQTT_TLS_KEY_FILE go together" in problems({"MQTT_BROKER": "broker", name: pem})[0]


def test_key_password_without_key(problems):
    """A password for a key that is not given is a problem."""
    assert (
        "MQTT_TLS_KEY_FILE is not set"
        in problems({"MQTT_BROKER": "broker", "MQTT_TLS": "true", "MQTT_TLS_KEY_PASSWORD": "x"})[0]
    )


@pytest.mark.parametrize("name", ["MQTT_TLS_CA_FILE", "MQTT_TLS_CERT_FILE", "MQTT_TLS_KEY_FILE"])
def test_missing_tls_file(problems, tmp_path, name):
    """A file that does not exist is the only thing complained about."""
    path = tmp_path / "missing.pem"
    listed = problems({"MQTT_BROKER": "broker", name: str(path)})

    assert f"{name} (environment): there is no file '{path}'" in [line.split(";")[0] for line in listed]


@pytest.mark.parametrize(
    ("name", "value"),
    [("MQTT_TLS", "true"), ("MQTT_USERNAME", "app"), ("MQTT_TRANSPORT", "websockets")],
)
def test_what_the_embedded_broker_lacks(problems, name, value):
    """Asking the embedded broker for what it lacks is a problem: most likely MQTT_BROKER was forgotten."""
    assert "set MQTT_BROKER" in problems({name: value})[0]


def test_password_without_name(problems):
    """A password without a user name is a problem: MQTT 3.1.1 forbids it (section 3.1.2.9)."""
    assert "MQTT_USERNAME is not set" in problems({"MQTT_BROKER": "broker", "MQTT_PASSWORD": "x"})[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MQTT_PORT", "0"),
        ("MQTT_PORT", "65536"),
        ("MQTT_CLIENT_ID", "plant/+"),
        ("MQTT_CLIENT_ID", "plant#"),
        ("MQTT_CLIENT_ID", "plant\t1"),
        ("MQTT_CLIENT_ID", "x" * 65_536),
        ("MQTT_PROTOCOL", "4"),
        ("MQTT_KEEPALIVE", "4"),
        ("MQTT_KEEPALIVE", "65536"),
        ("MQTT_SESSION_EXPIRY", "0"),
        ("MQTT_SESSION_EXPIRY", "4294967296"),
        ("MQTT_SESSION_EXPIRY", "0.5"),
        ("MQTT_SESSION_EXPIRY", "7 days"),
        ("MQTT_TRANSPORT", "quic"),
        ("MQTT_WEBSOCKET_PATH", "mqtt"),
        ("MQTT_STATUS_TOPIC", "plant/+/status"),
        ("MQTT_STATUS_TOPIC", "x" * 65_536),
        ("MQTT_TLS", "perhaps"),
    ],
)
def test_wrong_values(problems, name, value):
    """A value outside of what is allowed is a problem of its variable."""
    assert [name] == [line.split()[0] for line in problems({"MQTT_BROKER": "broker", name: value})]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1", 1), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("1w", 604_800), ("1.5h", 5_400)],
)
def test_durations(written, seconds):
    """A session expiry is a number of seconds or has a unit."""
    assert seconds == mqtt(MQTT_SESSION_EXPIRY=written).session_expiry
