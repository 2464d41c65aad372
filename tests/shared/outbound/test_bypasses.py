import io
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.http_client import HttpClient, HttpFailed, TargetRefused
from shared.settings import Settings
from tests.shared.outbound.servers import Listener, Names, answering

PUBLIC = "93.184.216.34"

SPELLINGS = """
http://127.0.0.1:PORT/
http://127.0.0.2:PORT/
http://127.255.255.254:PORT/
http://0.0.0.0:PORT/
http://0:PORT/
http://localhost:PORT/
http://LOCALHOST:PORT/
http://localhost.:PORT/
http://2130706433:PORT/
http://017700000001:PORT/
http://0x7f000001:PORT/
http://0x7f.0x0.0x0.0x1:PORT/
http://0177.0.0.1:PORT/
http://0177.0x0.0.1:PORT/
http://127.1:PORT/
http://127.0.1:PORT/
http://0x7f.1:PORT/
http://127.0.0.1.:PORT/
http://127.0.0.01:PORT/
http://127.0.0.1%00.example.com:PORT/
http://127.0.0.1%2eexample.com:PORT/
http://[::1]:PORT/
http://[0:0:0:0:0:0:0:1]:PORT/
http://[0000::0001]:PORT/
http://[::]:PORT/
http://[::ffff:127.0.0.1]:PORT/
http://[::ffff:7f00:1]:PORT/
http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/
http://[::127.0.0.1]:PORT/
http://[::7f00:1]:PORT/
http://[::ffff:0:127.0.0.1]:PORT/
http://[64:ff9b::127.0.0.1]:PORT/
http://[64:ff9b::a9fe:a9fe]:PORT/
http://[64:ff9b:1::7f00:1]:PORT/
http://[2002:7f00:1::]:PORT/
http://[2002:a9fe:a9fe::1]:PORT/
http://[2001:0:7f00:1::]:PORT/
http://[2001:0:4136:e378:8000:63bf:80ff:fffe]:PORT/
http://[2606:4700::5efe:10.0.0.1]:PORT/
http://[2606:4700::200:5efe:a00:1]:PORT/
http://[fe80::1]:PORT/
http://[fe80::1%25lo]:PORT/
http://[fe80::1%lo]:PORT/
http://[::1%25lo]:PORT/
http://[fc00::1]:PORT/
http://[fd00:ec2::254]/latest/meta-data/
http://[fec0::1]:PORT/
http://[ff02::1]:PORT/
http://[100::1]:PORT/
http://[5f00::1]:PORT/
http://[2001:db8::1]:PORT/
http://[3fff::1]:PORT/
http://[2001:2::1]:PORT/
http://[2001:20::1]:PORT/
http://169.254.169.254/latest/meta-data/
http://169.254.170.2/v2/credentials/
http://168.63.129.16/machine/
http://100.100.100.200/latest/meta-data/
http://192.0.0.192/opc/v1/
http://2852039166/latest/meta-data/
http://0xa9fea9fe/latest/meta-data/
http://10.0.0.1:PORT/
http://172.16.0.1:PORT/
http://172.31.255.255:PORT/
http://192.168.0.1:PORT/
http://100.64.0.1:PORT/
http://192.0.0.1:PORT/
http://192.0.2.1:PORT/
http://198.18.0.1:PORT/
http://198.51.100.1:PORT/
http://203.0.113.1:PORT/
http://192.88.99.1:PORT/
http://224.0.0.1:PORT/
http://239.255.255.255:PORT/
http://240.0.0.1:PORT/
http://255.255.255.255:PORT/
http://１２７.０.０.１:PORT/
http://①②⑦.⓪.⓪.①:PORT/
http://127。0。0。1:PORT/
http://ⓛocalhost:PORT/
http://locaIhost@127.0.0.1:PORT/
http://public.test@127.0.0.1:PORT/
http://public.test:80@127.0.0.1:PORT/
http://public.test%40127.0.0.1:PORT/
http://user:password@public.test/
http://127.0.0.1:PORT<BACKSLASH>@public.test/
http://public.test<BACKSLASH>@127.0.0.1:PORT/
http:<BACKSLASH><BACKSLASH>127.0.0.1:PORT<BACKSLASH>
http://127.0.0.1:PORT;public.test/
http://public.test&@127.0.0.1:PORT/
http://127.0.0.1<TAB>:PORT/
http://127.0.0.1<LF>.public.test:PORT/
http://public.test<CRLF>Host:127.0.0.1:PORT/
 http://127.0.0.1:PORT/
<SOH>http://127.0.0.1:PORT/
http:///127.0.0.1:PORT/
http:/127.0.0.1:PORT/
http:127.0.0.1:PORT/
//127.0.0.1:PORT/
127.0.0.1:PORT/
https:127.0.0.1:PORT/
ftp://127.0.0.1:PORT/
file:///etc/passwd
gopher://127.0.0.1:PORT/_x
dict://127.0.0.1:PORT/
unix:/tmp/socket
jar:http://127.0.0.1:PORT/!/
url:http://127.0.0.1:PORT/
data:text/plain,x
http+unix://%2ftmp%2fsocket/
http://public.test:0/
http://public.test:65536/
http://public.test:65616/
http://public.test:-80/
http://public.test:８０/
http://public.test:80:PORT/
http://public.test:/
http://public.test:22/
http://public.test:25/
http://public.test:445/
http://public.test:PORT:80/
http://[::1/
http://::1:PORT/
http://[127.0.0.1]:PORT/
http://public..test/
http://-public.test/
http://
http://?
https://127.0.0.1:PORT/
https://[::1]:PORT/
https://169.254.169.254/
http://inside.test:PORT/
http://loopback.test:PORT/
https://loopback.test:PORT/
http://127.0.0.1.nip.test:PORT/
http://alias.test:PORT/
http://mixed.test:PORT/
http://mixed-the-other-way.test:PORT/
http://mapped.test:PORT/
http://compatible.test:PORT/
http://nat64.test:PORT/
http://sixtofour.test:PORT/
http://teredo.test:PORT/
http://link.test:PORT/
http://unique.test:PORT/
http://metadata.test/
http://metadata6.test/
http://unspecified.test:PORT/
http://turning.test:PORT/second-look-up
http://xn--127-0-0-1.test:PORT/
""".strip("\n").split("\n")  # fmt: skip
CHARACTERS = {"<BACKSLASH>": "\\", "<TAB>": "\t", "<CRLF>": "\r\n", "<LF>": "\n", "<SOH>": "\x01"}


def written(spelling: str, port: int) -> str:
    for name, character in CHARACTERS.items():
        spelling = spelling.replace(name, character)
    return spelling.replace("PORT", str(port))


def names() -> Names:
    table = {
        "public.test": [[PUBLIC]], "inside.test": [["10.0.0.1"]], "loopback.test": [["127.0.0.1"]],
        "127.0.0.1.nip.test": [["127.0.0.1"]], "alias.test": [["::1", "127.0.0.1"]],
        "mixed.test": [[PUBLIC, "127.0.0.1"]], "mixed-the-other-way.test": [["127.0.0.1", PUBLIC]],
        "mapped.test": [["::ffff:127.0.0.1"]], "compatible.test": [["::7f00:1"]], "nat64.test": [["64:ff9b::a00:1"]],
        "sixtofour.test": [["2002:a00:1::1"]], "teredo.test": [["2001:0:4136:e378:8000:63bf:f5ff:fffe"]],
        "link.test": [["fe80::1"]], "unique.test": [["fd12::1"]], "metadata.test": [["169.254.169.254"]],
        "metadata6.test": [["fd00:ec2::254"]], "unspecified.test": [["0.0.0.0"]], "turning.test": [["127.0.0.1"]],
        "xn--127-0-0-1.test": [["127.0.0.1"]], "localhost": [["127.0.0.1"]],
    }  # fmt: skip
    found = Names()
    found.answers = table
    return found


@pytest.fixture
def everywhere(listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """One listener behind every address and every port: whatever a client connects to, it is seen here."""
    listener = listen()
    connect = socket.create_connection

    def to_listener(_address: Any, *args: Any, **options: Any) -> socket.socket:
        return connect(("127.0.0.1", listener.port), *args, **options)

    monkeypatch.setattr(socket, "create_connection", to_listener)
    yield listener


def attempts(client: HttpClient, url: str) -> list[BaseException | None]:
    def post() -> None:
        client.request("POST", url, body=b"{}", timeout_seconds=5, max_bytes=100)

    def get() -> None:
        client.download(url, io.BytesIO(), timeout_seconds=5, max_bytes=100)

    found: list[BaseException | None] = []
    for attempt in (post, get):
        try:
            attempt()
            found.append(None)
        except Exception as error:
            found.append(error)
    return found


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_reaches_an_address_that_is_closed(spelling: str, everywhere: Listener) -> None:
    client = HttpClient(Settings(), resolve=names())
    url = written(spelling, everywhere.port)
    found = attempts(client, url)
    assert everywhere.connections == 0, url
    assert all(isinstance(error, TargetRefused) for error in found), (url, found)
    for secret in ("127.0.0.1", "169.254", "10.0.0.1", "fd00"):
        assert secret not in str(found[0]) or secret in url, "the sentence tells what a name resolves to"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_no_spelling_reaches_this_machine_by_the_systems_own_resolver(
    host: str, listen: Callable[..., Listener]
) -> None:
    here = listen(host=host)
    client = HttpClient(Settings())
    for spelling in SPELLINGS:
        if ".test" not in spelling:
            attempts(client, written(spelling, here.port))
    assert here.connections == 0
    with socket.create_connection(("::1" if ":" in host else "127.0.0.1", here.port)) as control:
        control.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert control.recv(100)
    assert here.connections == 1


def test_the_table_is_long_and_the_listener_sees_what_is_let_through(everywhere: Listener) -> None:
    assert len(set(SPELLINGS)) >= 40
    client = HttpClient(Settings(), resolve=names())
    assert attempts(client, "http://public.test/") == [None, None]
    assert attempts(client, f"http://{PUBLIC}:8080/") == [None, None]
    assert attempts(client, "http://[2606:4700::1111]/") == [None, None]
    assert attempts(client, "http://[64:ff9b::5db8:d822]/") == [None, None]
    assert everywhere.connections == 8


def test_a_name_that_turns_after_its_check_is_looked_up_once_and_the_checked_address_is_used(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    good, bad = listen(), listen(host="127.0.0.2")
    turning = names()
    turning.answers["turning.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    client = make_client(("127.0.0.1/32",), resolve=turning)
    assert client.request("GET", f"http://turning.test:{good.port}/", timeout_seconds=5, max_bytes=9).body == b"hello"
    assert turning.asked == ["turning.test"]
    with pytest.raises(TargetRefused):
        client.request("GET", f"http://turning.test:{bad.port}/", timeout_seconds=5, max_bytes=9)
    assert (good.connections, bad.connections) == (1, 0)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_an_answer_and_never_followed(
    status: str, listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    inside = listen()
    outside = listen(answering(status, Location=inside.url("/secret"), Refresh=f"0; url={inside.url()}"))
    client = make_client()
    assert client.request("POST", outside.url(), timeout_seconds=5, max_bytes=9).status == int(status[:3])
    with pytest.raises(HttpFailed, match="redirect") as caught:
        client.download(outside.url(), io.BytesIO(), timeout_seconds=5, max_bytes=9)
    assert caught.value.is_permanent and inside.connections == 0


@pytest.mark.parametrize(
    ("networks", "host", "is_open"),
    [
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "[::ffff:10.1.2.3]", True),
        (("10.0.0.0/8",), "[64:ff9b::10.1.2.3]", True),
        (("10.0.0.0/8",), "192.168.0.1", False),
        (("10.0.0.0/8",), "[2002:a01:203::1]", False),
        (("::/0",), "10.0.0.1", False),
        (("::/0",), "[2002:a01:203::1]", False),
        (("::/0",), "[fd12::1]", True),
        (("0.0.0.0/0", "::/0"), "127.0.0.1", True),
        (("0.0.0.0/0", "::/0"), "169.254.169.254", False),
        (("0.0.0.0/0", "::/0"), "[::ffff:169.254.169.254]", False),
        (("0.0.0.0/0", "::/0"), "[64:ff9b::169.254.169.254]", False),
        (("0.0.0.0/0", "::/0"), "[fd00:ec2::254]", False),
        (("0.0.0.0/0", "::/0"), "168.63.129.16", False),
        (("169.254.169.254/32",), "169.254.169.254", True),
        (("fd00:ec2::254",), "[fd00:ec2::254]", True),
    ],
)
def test_a_network_of_the_setting_opens_itself_and_no_more(
    networks: tuple[str, ...], host: str, is_open: bool, everywhere: Listener, make_client: Callable[..., HttpClient]
) -> None:
    client = make_client(networks)
    found = attempts(client, f"http://{host}:8080/")
    assert everywhere.connections == (2 if is_open else 0), found


def test_a_registered_loopback_address_is_open_at_its_port_and_by_its_number_only(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient]
) -> None:
    mine, other, registered = listen(), listen(), set()
    resolver = names()
    client = make_client((), allowed=lambda: registered, resolve=resolver)
    assert isinstance(attempts(client, mine.url())[0], TargetRefused)
    registered.add(f"127.0.0.1:{mine.port}")
    assert attempts(client, mine.url()) == [None, None]
    for url in (other.url(), f"http://loopback.test:{mine.port}/", f"http://[::ffff:127.0.0.1]:{mine.port}/"):
        assert isinstance(attempts(client, url)[0], TargetRefused), url
    registered.clear()
    assert isinstance(attempts(client, mine.url())[0], TargetRefused)
    assert (mine.connections, other.connections) == (2, 0)


def test_proxies_of_the_environment_are_not_used(
    listen: Callable[..., Listener], make_client: Callable[..., HttpClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = listen(), listen()
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
    assert make_client().request("GET", server.url(), timeout_seconds=5, max_bytes=9).status == 200
    assert (proxy.connections, server.connections) == (0, 1)
