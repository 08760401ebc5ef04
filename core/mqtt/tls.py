"""Encryption of the connection to the broker."""

import ssl

from core.exceptions import ConfigurationError
from core.mqtt.options import TLSOptions

__all__ = ["tls_context"]


def tls_context(options: TLSOptions) -> ssl.SSLContext:
    """Load the certificates; anew for each connection, so that renewed files come into use.

    Args:
        options: Where the files are.

    Raises:
        ConfigurationError: A file is missing, or is not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if options.cert_file is not None:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(options.cert_file, options.key_file, options.key_password or "")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the TLS files cannot be used: {error}; fix: check MQTT_TLS_CA_FILE, MQTT_TLS_CERT_FILE, "
            "MQTT_TLS_KEY_FILE and MQTT_TLS_KEY_PASSWORD"
        ) from error
    return context
