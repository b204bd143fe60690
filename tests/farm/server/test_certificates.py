"""Certificates of a farm: an authority that signs, servers for their hosts only."""

import datetime

import pytest

x509 = pytest.importorskip("cryptography.x509")
from tempograd.farm.server.certificates import new_authority, new_server_certificate  # noqa: E402

HOSTS = ("localhost", "127.0.0.1", "farm.example.org")


@pytest.fixture(scope="module")
def pair():
    authority, key = new_authority()
    certificate, _ = new_server_certificate(authority, key, HOSTS)
    return x509.load_pem_x509_certificate(authority.encode()), x509.load_pem_x509_certificate(certificate.encode())


def test_the_authority_signed_the_server(pair):
    authority, server = pair
    server.verify_directly_issued_by(authority)
    with pytest.raises(ValueError, match=r"."):
        authority.verify_directly_issued_by(server)


def test_only_the_authority_may_sign(pair):
    basics = [one.extensions.get_extension_for_class(x509.BasicConstraints).value for one in pair]
    assert [basic.ca for basic in basics] == [True, False]


def test_a_server_is_for_its_hosts_and_addresses(pair):
    names = pair[1].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "farm.example.org"}
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_both_are_valid_now(pair):
    now = datetime.datetime.now(datetime.UTC)
    assert all(one.not_valid_before_utc <= now < one.not_valid_after_utc for one in pair)
