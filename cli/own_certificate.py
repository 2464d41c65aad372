"""Trusts this machine's own API by the certificate that it was given, whatever name stands in it.

The commands reach the API of their data folder at a loopback address, for which few certificates are made; what they
hold in their hands, the certificate itself, proves more than a name.
"""

import ssl
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from cli.terminal import Failure


class OwnCertificate(HTTPAdapter):
    """Takes a server for ours when it shows this certificate.

    Args:
        certificate: The PEM file.
        options: Those of the adapter.
    """

    def __init__(self, certificate: Path, **options: Any) -> None:
        self._certificate = certificate
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Makes the connections."""
        context = ssl.create_default_context(cafile=str(self._certificate.expanduser()))
        context.check_hostname = False
        # The certificate need not be one that signed itself: the leaf in our hands is enough.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        super().init_poolmanager(*args, ssl_context=context, assert_hostname=False, **options)


def trust(session: requests.Session, certificate: Path | None, **options: Any) -> None:
    """Lets a session trust that certificate and no other; nothing changes without one.

    Raises:
        Failure: It cannot be read.
    """
    if certificate is not None:
        _refuse_unreadable(certificate, "HEADRACE_HTTP__TLS_CERTIFICATE")
        session.verify = str(certificate.expanduser())
        session.mount("https://", OwnCertificate(certificate, **options))


def authorities(url: str, ca_file: Path | None) -> str | bool:
    """What a session takes to verify a server: the file, or ``True`` for the system's authorities.

    Raises:
        Failure: The file is needed and cannot be read.
    """
    if ca_file is None:
        return True
    if url.startswith("https:"):
        _refuse_unreadable(ca_file, "HEADRACE_CLIENT__CA_FILE")
    return str(ca_file.expanduser())


def refuse_unusable(certificate: Path | None, key: Path | None) -> None:
    """Makes sure that HTTPS can be served, before the API's process fails by itself.

    Raises:
        Failure: A file is missing, or they do not belong together, or the key has another form.
    """
    if certificate is None or key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.expanduser(), key.expanduser(), password="")
        is_usable = b"-----BEGIN PRIVATE KEY-----" in key.expanduser().read_bytes()
    except OSError as error:  # TLS errors are such, too
        raise Failure(
            f"HTTPS cannot be served with the certificate {certificate} and the key {key} "
            f"({error.strerror or error}); see HEADRACE_HTTP__TLS_CERTIFICATE and HEADRACE_HTTP__TLS_KEY."
        ) from error
    if not is_usable:
        raise Failure(
            f"The key {key} must be in PKCS#8 without a password; convert it with: "
            f"openssl pkcs8 -topk8 -nocrypt -in {key} -out {key}.pkcs8"
        )


def _refuse_unreadable(file: Path, setting: str) -> None:
    # What would say so later names neither the file nor the setting.
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file.expanduser())
    except OSError as error:  # TLS errors are such, too
        raise Failure(
            f"The certificates in {file} cannot be read ({error.strerror or error}); "
            f"set {setting} to a PEM file that this user may read."
        ) from error
