"""Certificates for TLS tests, good ones and each kind of bad one."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_PASSWORD = "key password"
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class KeyPair:
    """The PEM files of a certificate and of its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class _Authority:
    name: x509.Name
    key: ec.EllipticCurvePrivateKey


class Certificates:
    """A certificate authority and what it has issued, as PEM files in one folder.

    `server` is valid for `localhost` and 127.0.0.1 and `client` for a client named "device"; `client_encrypted`
    has a key that `KEY_PASSWORD` opens; `expired` ended yesterday; `wrong_host` names another host; `untrusted`
    is right in everything but its authority, `unknown_ca`.
    """

    def __init__(self, folder: Path) -> None:
        """Create everything in `folder`, which must exist."""
        self._folder = folder
        known, self.ca = self._authority("ca")
        unknown, self.unknown_ca = self._authority("unknown-ca")
        self.server = self._server("server", known)
        self.expired = self._server("expired", known, ends=-_DAY)
        self.wrong_host = self._server("wrong-host", known, hosts=("elsewhere.invalid",))
        self.untrusted = self._server("untrusted", unknown)
        self.client = self._client("client", known)
        self.client_encrypted = self._client("client-encrypted", known, password=KEY_PASSWORD)
        self.unknown_client = self._client("unknown-client", unknown)

    def _authority(self, file_name: str) -> tuple[_Authority, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Mqueduct test {file_name}")
        certificate = (
            _builder(name, name, key, key, ends=_DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = self._folder / f"{file_name}.crt"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return _Authority(name, key), path

    def _server(
        self,
        file_name: str,
        authority: _Authority,
        hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
        ends: datetime.timedelta = _DAY,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(hosts[0]), authority.name, key, authority.key, ends).add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
        )
        return self._issue(file_name, builder, key, authority, ExtendedKeyUsageOID.SERVER_AUTH)

    def _client(self, file_name: str, authority: _Authority, password: str | None = None) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name("device"), authority.name, key, authority.key, _DAY)
        return self._issue(file_name, builder, key, authority, ExtendedKeyUsageOID.CLIENT_AUTH, password)

    def _issue(
        self,
        file_name: str,
        builder: x509.CertificateBuilder,
        key: ec.EllipticCurvePrivateKey,
        authority: _Authority,
        purpose: x509.ObjectIdentifier,
        password: str | None = None,
    ) -> KeyPair:
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .sign(authority.key, hashes.SHA256())
        )
        pair = KeyPair(self._folder / f"{file_name}.crt", self._folder / f"{file_name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption(),
            )
        )
        return pair


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    ends: datetime.timedelta,
) -> x509.CertificateBuilder:
    """Return what all certificates share; Python 3.13 verifies strictly and wants both key identifiers."""
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
