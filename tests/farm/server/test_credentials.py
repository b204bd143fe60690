"""Keys and passwords of agents: public ones are told from secrets, and files are private."""

import pytest

pytest.importorskip("nkeys")
from tempograd.errors import UsageError
from tempograd.farm.server.credentials import (
    check_public_key,
    new_password,
    new_seed,
    public_key,
    write_private,
)


def test_a_seed_has_one_public_key_and_seeds_differ():
    seed = new_seed()
    assert public_key(seed) == public_key(seed)
    assert public_key(seed).startswith("U")
    assert new_seed() != seed
    assert check_public_key(public_key(seed)) == public_key(seed)


@pytest.mark.parametrize("wrong", ["", "nonsense", "U" * 56])
def test_what_is_no_public_key_is_refused(wrong):
    with pytest.raises(UsageError):
        check_public_key(wrong)


def test_a_seed_in_place_of_a_public_key_is_refused_and_not_repeated():
    seed = new_seed()
    with pytest.raises(UsageError) as caught:
        check_public_key(seed)
    assert seed not in str(caught.value)


def test_a_password_is_kept_as_its_hash_only():
    bcrypt = pytest.importorskip("bcrypt")
    password, hashed = new_password()
    assert bcrypt.checkpw(password.encode(), hashed.encode())
    assert password not in hashed


def test_a_secret_is_for_its_owner_only_and_is_not_overwritten_by_chance(tmp_path):
    path = tmp_path / "seed"
    write_private(path, "one")
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises((UsageError, OSError)):
        write_private(path, "two")
    write_private(path, "two", replace=True)
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o077 == 0
