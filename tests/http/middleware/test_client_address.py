"""Client addresses behind trusted proxies, and claims of untrusted clients."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.identity.audit import Origin
from entrypoints.http.middleware.client_address import client_address, parse_network
from entrypoints.http.middleware.rate_limits import address_principal

TRUSTED = [parse_network(one) for one in ("10.0.0.0/8", "fd00::/8", "192.0.2.7")]
PROXY, CLIENT = "10.0.0.1", "203.0.113.9"


def client(*forwarded: str, peer: str | None = PROXY) -> str | None:
    return client_address(peer, forwarded, TRUSTED)


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ([], PROXY),
        ([CLIENT], CLIENT),
        ([f"  {CLIENT}  "], CLIENT),
        ([f"198.51.100.1, {CLIENT}"], CLIENT),
        (["198.51.100.1", CLIENT], CLIENT),
        ([CLIENT, "10.1.2.3, 192.0.2.7"], CLIENT),
        ([f"10.9.9.9, {CLIENT}, 10.1.2.3"], CLIENT),  # a claim of the client about our networks
        (["10.1.2.3, 10.1.2.4"], "10.1.2.3"),  # all are trusted: the farthest one counts
        ([f"{CLIENT}:4711"], CLIENT),
        ([f'"{CLIENT}:4711"'], CLIENT),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (['"[2001:db8::1]"'], "2001:db8::1"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        ([f"::ffff:{CLIENT}"], CLIENT),
        ([CLIENT, "::ffff:10.0.0.2"], CLIENT),
        ([CLIENT, "fd00::1"], CLIENT),
        (["2001:db8::1%eth0"], "2001:db8::1"),
        (["2001:db8::1%\x1b[2J\n{}"], "2001:db8::1"),
    ],
)
def test_client_is_the_address_that_the_first_trusted_proxy_saw(
    forwarded: list[str], expected: str
) -> None:
    assert client(*forwarded) == expected


@pytest.mark.parametrize(
    "broken",
    [
        *("", " ", "\0", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "1.2.3.4:80:90"),
        *("[::1", "[]", "::g", "1.2.3.4/8", "٣.1.1.1", "0x7f.1.1.1", "1" * 10_000),
    ],
)
def test_invalid_entry_ends_the_search_at_its_writer(broken: str) -> None:
    found = client(f"{CLIENT}, {broken}")
    assert found == (PROXY if broken != "[::1" else "::1")
    assert client(f"{CLIENT}, {broken}, 10.0.0.2") in {"10.0.0.2", "::1"}


@pytest.mark.parametrize("peer", ["203.0.113.1", "11.0.0.1", "2001:db8::1", "", "/socket", None])
def test_header_of_an_untrusted_peer_is_ignored(peer: str | None) -> None:
    assert client(CLIENT, "10.0.0.1", peer=peer) == peer


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.1", "192.0.2.7", "fd12::3", "fd12::3%eth0"])
def test_trusted_proxy_is_recognised_in_every_spelling(peer: str) -> None:
    assert client(CLIENT, peer=peer) == CLIENT


def is_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in one for one in TRUSTED)


strangers = st.ip_addresses().filter(
    lambda one: not is_ours(getattr(one, "ipv4_mapped", None) or one)
)
proxies = st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="fd00::/8")
claims = st.lists(
    st.ip_addresses().map(str) | st.text(st.characters(exclude_characters=",", codec="latin-1")),
    max_size=5,
)


@st.composite
def spelled(draw: st.DrawFn, addresses: st.SearchStrategy) -> tuple[str, str]:
    """An address, and one of the spellings that proxies use."""
    address = draw(addresses)
    if address.version == 4:
        forms = ["{}", "{}:80", '"{}:80"', " {} ", "::ffff:{}", "[::ffff:{}]:80"]
    else:
        forms = ["{}", "[{}]", "[{}]:80", '"[{}]:80"', " {}"]
    return str(getattr(address, "ipv4_mapped", None) or address), draw(
        st.sampled_from(forms)
    ).format(address)


@given(claims, spelled(strangers), st.lists(spelled(proxies), max_size=4), st.randoms())
def test_claims_of_clients_change_nothing(
    claimed: list[str], seen: tuple[str, str], hops: list[tuple[str, str]], random
) -> None:
    """Claims before the first proxy don't count, nor how the values are split into headers."""
    written = [*claimed, seen[1], *(hop for _, hop in hops)]
    cut = random.randint(0, len(written))
    headers = [", ".join(part) for part in (written[:cut], written[cut:]) if part]
    assert client(*headers) == seen[0]


@given(st.text(), st.lists(st.text(), max_size=3))
def test_arbitrary_header_values_raise_nothing(peer: str, forwarded: list[str]) -> None:
    found = client_address(peer, forwarded, TRUSTED)
    assert found == peer or ipaddress.ip_address(found)


@pytest.mark.parametrize("text", ["", "x", "10.0.0.0/33", "1.2.3.4:80", "10.0.0.0 /8"])
def test_invalid_network_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_network(text)


# --- buckets -------------------------------------------------------------------------------------


def bucket(address: str | None) -> str:
    return address_principal(Origin(address, None))


@given(st.ip_addresses(v=6).filter(lambda one: one.ipv4_mapped is None), st.integers(0, 2**64 - 1))
def test_ipv6_network_has_one_bucket(address: ipaddress.IPv6Address, host: int) -> None:
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)
    if neighbour.ipv4_mapped is None:
        assert bucket(str(address)) == bucket(str(neighbour))
    other = ipaddress.IPv6Address(int(address) ^ 1 << 64)
    if other.ipv4_mapped is None:
        assert bucket(str(address)) != bucket(str(other))


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_ipv4_address_has_its_own_bucket(
    one: ipaddress.IPv4Address, other: ipaddress.IPv4Address
) -> None:
    assert bucket(str(one)) == bucket(f"::ffff:{one}")
    assert (bucket(str(one)) == bucket(str(other))) is (one == other)


@pytest.mark.parametrize("nowhere", [None, ""])
def test_unknown_addresses_share_one_bucket(nowhere: str | None) -> None:
    assert bucket(nowhere) == "ip:unknown"


def test_zone_does_not_change_the_bucket() -> None:
    assert bucket("fe80::1%eth0") == bucket("fe80::2%eth1")
