import io
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidInput, Unavailable
from shared.http_client import Guard, HttpClient, HttpFailed, TargetRefused, lane_of
from shared.outbound.target import parse_target
from shared.settings import Settings
from tests.shared.outbound.servers import Listener, Names, answering, over_tls

LIMIT = 0.4
SPARE = 1.5


def drip(first: bytes, piece: bytes, pause: float = 0.02) -> Callable[..., None]:
    """Says something and then goes on in small pieces, for ever."""

    def speak(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(first)
        while not listener.over.wait(pause):
            sock.sendall(piece)

    return speak


def silent(listener: Listener, _sock: Any) -> None:
    listener.over.wait(5)


SLOW = {
    "nothing": silent,
    "a status line in pieces": drip(b"H", b" "),
    "headers in pieces": drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05),
    "100 Continue for ever": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body in pieces": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    "a body without end in pieces": drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "chunks in pieces": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a trailer without end": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
}


@pytest.mark.parametrize("what", SLOW)
def test_the_time_limit_holds_however_the_server_drips(
    what: str, listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    server = listen(SLOW[what])
    began = time.monotonic()
    with pytest.raises(HttpFailed, match="within 0.4 s"):
        make_client().request("POST", server.url(), body=b"x", timeout_seconds=LIMIT, max_bytes=10_000)
    assert LIMIT <= time.monotonic() - began < SPARE


def test_the_time_limit_holds_for_a_server_that_does_not_read(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    server = listen(silent)
    began = time.monotonic()
    with pytest.raises(HttpFailed, match="within"):
        make_client().request("POST", server.url(), body=bytes(32 << 20), timeout_seconds=LIMIT, max_bytes=9)
    assert time.monotonic() - began < SPARE


def test_the_time_limit_holds_for_a_tls_handshake_that_never_ends(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    server = listen(silent)
    with pytest.raises(HttpFailed, match="within"):
        make_client().request("GET", f"https://127.0.0.1:{server.port}/", timeout_seconds=LIMIT, max_bytes=9)


def test_the_time_limit_holds_for_a_resolver_that_never_answers(
    make_client: Callable[..., HttpClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_options: over.wait(5) and [])
    began = time.monotonic()
    with pytest.raises(HttpFailed, match="within"):
        make_client().request("GET", "http://slow.test/", timeout_seconds=LIMIT, max_bytes=9)
    assert time.monotonic() - began < SPARE
    over.set()


def test_the_time_limit_holds_where_all_lookups_hang_and_ends_with_them(
    make_client: Callable[..., HttpClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr("shared.outbound.resolving._LOOKUPS", threading.BoundedSemaphore(1))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_options: over.wait(5) and [])
    client = make_client()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(HttpFailed, match="within"):
            client.request("GET", "http://slow.test/", timeout_seconds=LIMIT, max_bytes=9)
        assert time.monotonic() - began < SPARE
    over.set()
    with pytest.raises(HttpFailed, match="cannot be reached"):
        client.request("GET", "http://slow.test/", timeout_seconds=5, max_bytes=9)


def test_an_address_that_answers_nothing_leaves_time_for_the_next(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    # 127.0.0.3 refuses at once; the second address has the server.
    server = listen()
    client = make_client(resolve=Names(two_test=[["127.0.0.3", "127.0.0.1"]]))
    assert client.request("GET", f"http://two.test:{server.port}/", timeout_seconds=5, max_bytes=9).body == b"hello"


def test_no_more_than_the_first_bytes_of_an_answer_are_read(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    def endless(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not listener.over.is_set():
            sock.sendall(bytes(65536))

    reply = make_client().request("GET", listen(endless).url(), timeout_seconds=5, max_bytes=100_000)
    assert reply.status == 200 and len(reply.body) == 100_000


@pytest.mark.parametrize("size", [b"-1", b"-ffff", b"7fffffffffffffff", b"ffffffffffffffffffffffff"])
def test_a_chunk_of_an_absurd_size_is_read_no_further_than_the_limit(
    size: bytes, listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    def absurd(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n")
        while not listener.over.is_set():
            sock.sendall(bytes(65536))

    server, into = listen(absurd), io.BytesIO()
    assert len(make_client().request("GET", server.url(), timeout_seconds=5, max_bytes=1000).body) == 1000
    with pytest.raises(HttpFailed, match="larger than 200000 bytes"):
        make_client().download(server.url(), into, timeout_seconds=5, max_bytes=200_000)
    assert len(into.getvalue()) <= 200_000


NOT_HTTP = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "an endless status line": b"HTTP/1.1 200 " + b"x" * 70_000,
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "no number for a status": b"HTTP/1.1 abc OK\r\n\r\n",
    "an endless chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 70_000,
}


@pytest.mark.parametrize("what", NOT_HTTP)
def test_what_is_no_http_is_a_failure(
    what: str, listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    def speak(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(NOT_HTTP[what])
        listener.over.wait(5)

    with pytest.raises(HttpFailed, match="not HTTP"):
        make_client().request("GET", listen(speak).url(), timeout_seconds=5, max_bytes=99)


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 100\r\n\r\nshort", b"Transfer-Encoding: chunked\r\n\r\n64\r\nshort", b"Content-Length: 9"],
)
def test_an_answer_that_breaks_off_is_a_failure(
    head: bytes, listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    def speak(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + head)

    server = listen(speak)
    with pytest.raises(HttpFailed, match="hung up"):
        make_client().request("GET", server.url(), timeout_seconds=5, max_bytes=999)
    with pytest.raises(HttpFailed, match="hung up"):
        make_client().download(server.url(), io.BytesIO(), timeout_seconds=5, max_bytes=999)


def test_a_server_that_hangs_up_and_one_that_is_not_there_are_failures(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    with pytest.raises(HttpFailed, match="hung up"):
        make_client().request("GET", listen(lambda *_: None).url(), timeout_seconds=5, max_bytes=9)
    gone = listen()
    gone.close()
    with pytest.raises(HttpFailed, match="cannot be reached"):
        make_client().request("GET", gone.url(), timeout_seconds=5, max_bytes=9)


def test_an_answer_that_comes_before_the_body_was_read_counts(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    def early(_listener: Listener, sock: Any) -> None:
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        while sock.recv(1 << 20):
            continue

    reply = make_client().request("POST", listen(early).url(), body=bytes(8 << 20), timeout_seconds=5, max_bytes=9)
    assert reply.status == 413


def test_a_request_says_what_it_was_told_and_nothing_of_the_process(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    server = listen(answering(Set_Cookie="a=b"))
    client = make_client(resolve=Names(api_test=[["127.0.0.1"]]))
    url = f"http://API.test:{server.port}/ä/%2e%2e/?q=ü&x=[1]#fragment"
    for _ in range(2):
        reply = client.request("PUT", url, headers={"X-Mine": "1"}, body=b"{}", timeout_seconds=5, max_bytes=9)
    assert reply.headers["set-cookie"] == "a=b"
    lines = server.requests[-1].decode().split("\r\n")
    assert lines[0] == "PUT /%C3%A4/%2e%2e/?q=%C3%BC&x=[1] HTTP/1.1"
    assert set(lines[1:-2]) == {
        f"Host: api.test:{server.port}", "Accept-Encoding: identity", "User-Agent: headrace", "X-Mine: 1",
        "Connection: close", "Content-Length: 2",
    }  # fmt: skip
    assert lines[-1] == "{}"


@pytest.mark.parametrize(
    "status", ["401 No", "403 No", "404 Missing", "410 Gone", "501 Not", "503 Busy", "429 Slow", "204 None"]
)
def test_a_download_wants_status_200_and_says_whether_another_attempt_may_help(
    status: str, listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    server = listen(answering(status, b"", Retry_After="7"))
    with pytest.raises(HttpFailed, match=status[:3]) as caught:
        make_client().download(server.url("/?secret=1"), io.BytesIO(), timeout_seconds=5, max_bytes=9)
    assert caught.value.status == int(status[:3]) and caught.value.retry_after == "7"
    assert caught.value.is_permanent == (status[:3] not in ("501", "503", "429"))
    assert "secret" not in str(caught.value)


def test_a_download_larger_than_its_limit_is_refused_by_its_length_before_a_byte_is_read(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    server, into = listen(answering(body=bytes(101))), io.BytesIO()
    with pytest.raises(HttpFailed, match="larger than 100 bytes") as caught:
        make_client().download(server.url(), into, timeout_seconds=5, max_bytes=100)
    assert caught.value.is_permanent and not into.getvalue()
    make_client().download(server.url(), into, timeout_seconds=5, max_bytes=101)
    assert into.getvalue() == bytes(101)


def test_a_download_is_left_when_its_check_says_so(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    class Left(Exception):
        pass

    def check() -> None:
        raise Left

    server = listen(silent)
    began = time.monotonic()
    with pytest.raises(Left):
        make_client().download(server.url(), io.BytesIO(), timeout_seconds=30, max_bytes=9, check=check)
    assert time.monotonic() - began < 3


@pytest.fixture
def make_certificate(needs: Callable[[str], str], tmp_path: Path) -> Callable[[str], tuple[ssl.SSLContext, Path]]:
    """Makes a server's TLS context for a name, and the file that one must trust for it."""

    def make(name: str) -> tuple[ssl.SSLContext, Path]:
        key, certificate = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        kind = "IP" if name[0].isdigit() else "DNS"
        command = [
            needs("openssl"),
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ]
        command += ["-days", "2", "-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}"]
        subprocess.run([*command, "-addext", f"subjectAltName={kind}:{name}"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context, certificate

    return make


def test_tls_is_verified_by_the_name_of_the_url_and_that_name_is_what_the_server_sees(
    make_certificate: Callable[[str], tuple[ssl.SSLContext, Path]],
    listen: Callable[..., Listener],
    make_client: Callable[..., HttpClient],
) -> None:
    context, authority = make_certificate("good.test")
    seen: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    server = listen(lambda listener, sock: over_tls(context, lambda secure: answering()(listener, secure))(sock))
    names = Names(good_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    good, other = (f"https://{name}.test:{server.port}/" for name in ("good", "other"))

    trusting = make_client(ca_file=authority, resolve=names)
    assert trusting.request("GET", good, timeout_seconds=5, max_bytes=9).body == b"hello"
    assert seen == ["good.test"]
    assert f"Host: good.test:{server.port}".encode() in server.requests[0]
    with pytest.raises(HttpFailed, match=r"other\.test has a certificate that is not valid"):
        trusting.request("GET", other, timeout_seconds=5, max_bytes=9)
    with pytest.raises(HttpFailed, match="certificate that is not valid"):
        make_client(resolve=names).request("GET", good, timeout_seconds=5, max_bytes=9)
    plain = listen(lambda _listener, sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(HttpFailed, match="TLS"):
        trusting.request("GET", plain.url().replace("http:", "https:"), timeout_seconds=5, max_bytes=9)


def test_authorities_that_cannot_be_read_are_our_fault_and_not_the_hosts(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient], tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").touch()
    for path in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        with pytest.raises(Unavailable, match=r"outgoing\.ca_file"):
            make_client(ca_file=path).request(
                "GET", f"https://127.0.0.1:{listen().port}/", timeout_seconds=5, max_bytes=9
            )


def test_the_time_limit_holds_for_a_body_that_drips_through_tls(
    make_certificate: Callable[[str], tuple[ssl.SSLContext, Path]],
    listen: Callable[..., Listener],
    make_client: Callable[..., HttpClient],
) -> None:
    context, authority = make_certificate("127.0.0.1")
    slow = drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x")
    server = listen(lambda listener, sock: over_tls(context, lambda secure: slow(listener, secure))(sock))
    began = time.monotonic()
    with pytest.raises(HttpFailed, match="within") as caught:
        make_client(ca_file=authority).request(
            "GET", f"https://127.0.0.1:{server.port}/", timeout_seconds=LIMIT, max_bytes=10_000
        )
    assert caught.value.status == 200 and time.monotonic() - began < SPARE


@pytest.mark.parametrize(
    ("url", "lane"),
    [
        ("http://Example.COM", "example.com:80"),
        ("HTTPS://example.com?x", "example.com:443"),
        ("https://example.com:8443/a", "example.com:8443"),
        ("http://[2606:4700::1111]/", "[2606:4700::1111]:80"),
        ("http://[2606:4700:0:0::1111]:080/", "[2606:4700::1111]:80"),
        ("http://my_service:8000/", "my_service:8000"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example:80"),
        ("http://public.test:80#@127.0.0.1:81/", "public.test:80"),
        ("http://public.test/#\N{GRINNING FACE}", "public.test:80"),
    ],
)
def test_a_lane_is_host_and_port_in_one_spelling(url: str, lane: str) -> None:
    assert lane_of(url) == lane


PIECES = [
    "http://",
    "https://",
    "a.example",
    "[2606:4700::1]",
    "1.2.3.4",
    "127.0.0.1",
    ":80",
    *":/@[]%.#?&\\;,~x0é①。\t",
]


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), st.booleans())
def test_what_is_accepted_other_parsers_read_as_the_same_host(rest: str, is_prefixed: bool) -> None:
    url = f"http://{rest}" if is_prefixed else rest
    try:
        target = parse_target(url)
    except InvalidInput:
        return
    port = {"http": 80, "https": 443}[target.scheme]
    for parts in (urlsplit(url), urllib3.util.parse_url(url)):
        assert ((parts.hostname or "").strip("[]"), parts.port or port) == (target.host, target.port), url


def test_the_door_refuses_a_closed_address_with_a_guard_and_names_the_field() -> None:
    guard = Guard(Settings(), lambda: {"127.0.0.1:9000"})
    assert lane_of("http://127.0.0.1:9000/hook", guard) == "127.0.0.1:9000"
    for url in ("http://127.0.0.1:9001/hook", "http://[::ffff:10.0.0.1]/", "http://8.8.8.8:25/"):
        with pytest.raises(InvalidInput, match="may not be reached") as caught:
            lane_of(url, guard, "webhook")
        assert caught.value.field == "webhook"
    with pytest.raises(InvalidInput, match="must begin with") as caught:
        lane_of("ftp://example.com/", field="webhook")
    assert caught.value.field == "webhook"
    with pytest.raises(InvalidInput, match="longer than"):
        lane_of("http://example.com/" + "a" * 9000)


def test_headers_cannot_be_smuggled_in(listen: Callable[..., Listener], make_client: Callable[..., HttpClient]) -> None:
    server = listen()
    with pytest.raises(HttpFailed):
        make_client().request("GET", server.url(), headers={"X": "a\r\nY: b"}, timeout_seconds=5, max_bytes=9)
    with pytest.raises(TargetRefused):
        make_client().request("GET", server.url("/ HTTP/1.1\r\nX: y"), timeout_seconds=5, max_bytes=9)
    assert not server.requests
