"""Trust stores: pinned roots of one origin, each for one purpose."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.crypto import sha256, spki_sha256
from attest.errors import MalformedError
from attest.pki import Anchor, load_certificates
from attest.trust import PRODUCTION_ANCHORS, Origin, Role, TrustStore
from attest.wire import canonical_json

MADE_UP = Anchor("made up", "ab" * 32)


def refused(call, code: str) -> None:
    with pytest.raises(MalformedError) as caught:
        call()
    assert caught.value.code == code


def test_production_pins_every_role():
    store = TrustStore.production()
    assert store.origin is Origin.PRODUCTION
    assert not store.simulated
    assert {role for role, _ in store.anchors} == set(Role)
    for role in Role:
        assert len(store.for_role(role)) == (3 if role is Role.TPM_AK else 1)  # Azure, and two of Google's
    assert len({anchor.spki_sha256 for _, anchor in store.anchors}) == len(store.anchors)


def test_production_pins_are_the_keys_of_the_roots_that_ship(fixtures):
    device = load_certificates((fixtures / "pki/nvidia-h100/chain.pem").read_bytes(), "chain", most=5)[-1]
    ark = load_certificates((fixtures / "pki/amd-milan/ask-ark.pem").read_bytes(), "chain", most=2)[-1]
    store = TrustStore.production()
    assert store.for_role(Role.NVIDIA_DEVICE)[0].spki_sha256 == spki_sha256(device.public_key())
    assert store.for_role(Role.AMD_ARK_MILAN)[0].spki_sha256 == spki_sha256(ark.public_key())


@pytest.mark.corpus
def test_production_pins_are_the_keys_of_the_roots_of_the_corpus(corpus):
    store = TrustStore.production()
    paths = {Role.NVIDIA_DEVICE: "nvidia/certs/nvidia_device_identity_root.pem", Role.NVIDIA_RIM: "nvidia/certs/nvidia_rim_root.pem"}
    for role, path in paths.items():
        root = load_certificates((corpus / path).read_bytes(), path, most=1)[0]
        assert store.for_role(role)[0].spki_sha256 == spki_sha256(root.public_key())
    for product in ("milan", "genoa", "turin"):
        for kind in ("vcek", "vlek"):
            path = f"sev-snp/roots-{product}.{kind}.cert_chain.pem"
            root = load_certificates((corpus / path).read_bytes(), path, most=2)[-1]
            assert store.for_role(Role(f"amd-ark-{product}"))[0].spki_sha256 == spki_sha256(root.public_key())


# -- no mix ------------------------------------------------------------------------------------------------------------------


def test_a_production_store_holds_built_in_pins_only():
    refused(lambda: TrustStore.of("x", Origin.PRODUCTION, (*PRODUCTION_ANCHORS, (Role.NVIDIA_RIM, MADE_UP))), "trust.mixed")


@pytest.mark.parametrize("index", range(len(PRODUCTION_ANCHORS)))
def test_a_simulated_store_holds_no_built_in_pin(index):
    _, anchor = PRODUCTION_ANCHORS[index]
    for role in Role:
        refused(lambda: TrustStore.of("x", Origin.SIMULATED, ((role, anchor),)), "trust.mixed")  # noqa: B023


@pytest.mark.parametrize("index", range(len(PRODUCTION_ANCHORS)))
def test_a_built_in_pin_stands_for_its_own_role_only(index):
    own, anchor = PRODUCTION_ANCHORS[index]
    for role in Role:
        if role is own:
            assert TrustStore.of("x", Origin.PRODUCTION, ((role, anchor),)).for_role(role) == (anchor,)
        else:
            refused(lambda: TrustStore.of("x", Origin.PRODUCTION, ((role, anchor),)), "trust.mixed")  # noqa: B023


def test_a_role_gives_its_own_anchors_and_no_others():
    other = Anchor("other", "cd" * 32)
    store = TrustStore.of("x", Origin.SIMULATED, ((Role.NVIDIA_DEVICE, MADE_UP), (Role.NVIDIA_RIM, other), (Role.NVIDIA_DEVICE, other)))
    assert store.simulated
    assert store.for_role(Role.NVIDIA_DEVICE) == (MADE_UP, other)
    assert store.for_role(Role.NVIDIA_RIM) == (other,)
    assert store.for_role(Role.AMD_ARK_MILAN) == ()


def test_a_store_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrustStore.production().name = "other"
    assert isinstance(TrustStore.production().anchors, tuple)


# -- file --------------------------------------------------------------------------------------------------------------------

ANCHORS = st.tuples(
    st.sampled_from(Role),
    st.builds(
        Anchor,
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.binary(min_size=32, max_size=32).map(lambda pin: pin.hex()),
    ),
)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.lists(ANCHORS, max_size=5).map(tuple))
def test_round_trip(name, anchors):
    store = TrustStore.of(name, Origin.SIMULATED, anchors)
    assert TrustStore.from_json(store.to_json()) == store
    assert store.digest == sha256(store.to_json().rstrip(b"\n")).hex()


def test_the_digest_covers_everything():
    base = ("x", Origin.SIMULATED, ((Role.NVIDIA_DEVICE, MADE_UP),))
    variants = [
        base,
        ("y", *base[1:]),
        (*base[:2], ()),
        (*base[:2], ((Role.NVIDIA_RIM, MADE_UP),)),
        (*base[:2], ((Role.NVIDIA_DEVICE, Anchor("other name", "ab" * 32)),)),
        (*base[:2], ((Role.NVIDIA_DEVICE, Anchor("made up", "ac" * 32)),)),
        (*base[:2], ((Role.NVIDIA_DEVICE, MADE_UP), (Role.NVIDIA_DEVICE, MADE_UP))),
        ("x", Origin.PRODUCTION, ()),
    ]
    assert len({TrustStore.of(*variant).digest for variant in variants}) == len(variants)


def changed(**members: object) -> bytes:
    value = json.loads(TrustStore.of("x", Origin.SIMULATED, ((Role.NVIDIA_DEVICE, MADE_UP),)).to_json())
    for name, member in members.items():
        if member is None:
            del value[name]
        else:
            value[name] = member
    return canonical_json(value)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (changed(format="attest-trust/2"), "trust.format"),
        (changed(origin="real"), "wire.json"),
        (changed(origin="production"), "trust.mixed"),
        (changed(name=None), "wire.json"),
        (changed(anchors=None), "wire.json"),
        (changed(extra=1), "wire.json"),
        (changed(anchors=[{"role": "nvidia-device", "name": "x", "spki_sha256": "ab" * 31}]), "wire.hex"),
        (changed(anchors=[{"role": "nvidia-device", "name": "x", "spki_sha256": "ab" * 33}]), "wire.hex"),
        (changed(anchors=[{"role": "amd-ark-venice", "name": "x", "spki_sha256": "ab" * 32}]), "wire.json"),
        (changed(anchors=[{"role": "nvidia-device", "name": "x", "spki_sha256": "ab" * 32, "note": ""}]), "wire.json"),
        (changed(anchors=[{"role": "nvidia-device", "spki_sha256": "ab" * 32}]), "wire.json"),
        (b"[]", "wire.json"),
        (changed()[:-1], "wire.json"),
    ],
)
def test_bad_files(data, code):
    refused(lambda: TrustStore.from_json(data), code)


def test_upper_case_pins_are_the_same_pins():
    data = changed(anchors=[{"role": "nvidia-device", "name": "made up", "spki_sha256": "AB" * 32}])
    assert TrustStore.from_json(data) == TrustStore.from_json(changed())
