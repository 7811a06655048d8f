"""Signing images, and telling good signatures from others."""

import base64
import io
import json
import threading
from dataclasses import replace

import pytest

from registry.copy import copy
from registry.errors import InvalidDocumentError, InvalidReferenceError, TooLargeError
from registry.layout import OciLayout
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.digest import Digest, sha256
from registry.oci.manifest import Manifest, parse
from registry.oci.platform import Platform
from registry.reference import Reference
from registry.remote.client import Client, Settings
from registry.remote.mirrors import Mirror, Mirrors, Rule
from registry.sign import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    NotSignedError,
    Payload,
    RemapIdentity,
    SignatureError,
    SigningKey,
    sign,
    verify,
    with_children,
)
from registry.sign.attachments import (
    MAX_ATTACHMENTS,
    Attachment,
    attach,
    attachment_tag,
    read_attachments,
)
from registry.sign.signatures import MAX_IMAGES, SIGNATURE, SIGNATURES


class NoCredentials:
    def find(self, registry: str, repository: str) -> None:
        return None


FORMS = pytest.mark.parametrize("form", ["tag", "referrers"])


def signed(raw: bytes, key: SigningKey) -> Attachment:
    signature = base64.b64encode(key.sign(raw)).decode()
    return Attachment(raw=raw, annotations={SIGNATURE: signature})


def reason(store, image, reference, key, **wanted) -> str:
    with pytest.raises(SignatureError) as caught:
        verify(store, image, reference, [key.public], **wanted)
    return caught.value.reason


# -- signing


@FORMS
def test_a_signature_verifies(store, image, reference, key, form):
    made = sign(store, image, reference, key, form=form)
    (payload,) = verify(store, image, reference, [key.public])
    assert payload == made
    assert payload.docker_reference == "registry.example/team/app"
    assert payload.digest == image.digest
    assert payload.annotations == {}


@FORMS
def test_a_signature_verifies_in_a_registry(pushed, key, form):
    repository, image, reference = pushed()
    sign(repository, image, reference, key, form=form)
    assert verify(repository, image, reference, [key.public])


@FORMS
def test_a_signature_verifies_in_a_registry_without_referrers(simulator, pushed, key, form):
    simulator.referrers = False
    repository, image, reference = pushed()
    sign(repository, image, reference, key, form=form)
    assert verify(repository, image, reference, [key.public])


@FORMS
def test_a_signature_verifies_in_a_layout(tmp_path, new_builder, reference, key, form):
    layout = OciLayout(tmp_path / "layout")
    image = new_builder(layout).image()
    layout.tag(image, "1")
    sign(layout, image, reference, key, form=form)
    again = OciLayout(tmp_path / "layout")
    assert again.resolve("1") == replace(image, annotations=again.resolve("1").annotations)
    assert verify(again, image, reference, [key.public])


@FORMS
@pytest.mark.parametrize("signed_at", ["origin", "mirror"])
def test_a_signature_is_found_when_a_mirror_is_asked_first(
    pushed, builder, new_simulator, key, form, signed_at
):
    repository, image, reference = pushed()
    mirror = new_simulator()
    rule = Rule(prefix=reference.registry, mirrors=(Mirror(location=mirror.host),))
    with Client(Settings(mirrors=Mirrors(rules=(rule,))), NoCredentials()) as client:
        at_mirror = client.repository(replace(reference, registry=mirror.host))
        copy(builder.store, at_mirror, image, tags=("1",))
        source = client.source(reference)
        with pytest.raises(NotSignedError):
            verify(source, image, reference, [key.public])
        signed = repository if signed_at == "origin" else at_mirror
        sign(signed, image, reference, key, form=form)
        assert verify(source, image, reference, [key.public])


@FORMS
def test_a_mirrors_signature_is_enough_where_the_registry_cannot_be_reached(
    simulator, pushed, builder, new_simulator, key, form
):
    _, image, reference = pushed()
    mirror = new_simulator()
    rule = Rule(prefix=reference.registry, mirrors=(Mirror(location=mirror.host),))
    with Client(Settings(mirrors=Mirrors(rules=(rule,)), attempts=1), NoCredentials()) as client:
        at_mirror = client.repository(replace(reference, registry=mirror.host))
        copy(builder.store, at_mirror, image, tags=("1",))
        simulator.stop()
        source = client.source(reference)
        with pytest.raises(NotSignedError):
            verify(source, image, reference, [key.public])
        sign(at_mirror, image, reference, key, form=form)
        assert verify(source, image, reference, [key.public])


def test_lies_under_the_tag_that_cosign_looks_for(store, image, reference, key):
    sign(store, image, reference, key)
    assert attachment_tag(image.digest, SIGNATURES) == f"sha256-{image.digest.hex}.sig"
    found = store.resolve(f"sha256-{image.digest.hex}.sig")
    document = json.loads(store.open(found).read())
    (layer,) = document["layers"]
    assert document["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    assert list(layer["annotations"]) == ["dev.cosignproject.cosign/signature"]


def test_signatures_of_several_keys_are_all_kept(store, image, reference, key, other_key):
    for form in ("tag", "referrers", "tag"):
        for each in (key, other_key):
            sign(store, image, reference, each, annotations={"form": form}, form=form)
    assert len(verify(store, image, reference, [key.public])) == 2
    assert len(verify(store, image, reference, [other_key.public])) == 2
    assert len(verify(store, image, reference, [key.public, other_key.public])) == 4


@FORMS
def test_signing_the_same_again_adds_nothing(store, image, reference, key, form):
    for _ in range(3):
        sign(store, image, reference, key, form=form)
    assert len(list(read_attachments(store, image, SIGNATURES))) == 1


def test_a_signature_in_one_form_does_not_stand_for_the_other(store, image, reference, key):
    """Who asks for a form has a reader that looks nowhere else."""
    for form in ("tag", "referrers"):
        sign(store, image, reference, key, form=form)
        assert len(list(read_attachments(store, image, SIGNATURES, (form,)))) == 1
    assert len(verify(store, image, reference, [key.public])) == 2


def test_signs_in_spite_of_a_signature_that_is_rubbish(store, image, reference, key):
    payload = Payload.build(docker_reference=reference.name, digest=image.digest)
    for annotations in ({}, {SIGNATURE: "!"}):
        attach(
            store, image, SIGNATURES, Attachment(raw=payload.raw, annotations=annotations), "tag"
        )
    sign(store, image, reference, key)
    assert verify(store, image, reference, [key.public])


def test_keeps_what_others_wrote_into_the_manifest(store, image, reference, key):
    other = Attachment(raw=b"{}", annotations={SIGNATURE: "AAAA", "dev.sigstore.cosign/chain": "x"})
    attach(store, image, SIGNATURES, other, "tag")
    sign(store, image, reference, key)
    assert other in list(read_attachments(store, image, SIGNATURES))


def test_signs_for_another_name_when_told(store, image, reference, key):
    sign(store, image, reference, key, identity="vendor.example/app:7")
    assert 'is for "vendor.example/app:7"' in reason(store, image, reference, key)
    vendor = ExactRepository(name="vendor.example/app")
    (payload,) = verify(store, image, reference, [key.public], identity=vendor)
    assert payload.docker_reference == "vendor.example/app:7"


def test_refuses_to_sign_for_an_impossible_name(store, image, reference, key):
    with pytest.raises(InvalidReferenceError):
        sign(store, image, reference, key, identity="team/UPPER")
    assert not list(read_attachments(store, image, SIGNATURES))


def test_an_image_named_by_sha512_has_room_only_among_referrers(store, image, reference, key):
    long = replace(image, digest=Digest("sha512:" + "c" * 128))
    with pytest.raises(SignatureError, match="only digests of sha256"):
        sign(store, long, reference, key)
    sign(store, long, reference, key, form="referrers")
    assert verify(store, long, reference, [key.public])


def test_eight_threads_at_once_lose_no_signature(pushed, key):
    repository, image, reference = pushed()
    failures = []

    def write(number):
        try:
            sign(repository, image, reference, key, annotations={"writer": str(number)})
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = verify(repository, image, reference, [key.public])
    assert sorted(payload.annotations["writer"] for payload in found) == list("01234567")


class Rival(MemoryStore):
    """Has another writer whose manifest, made of what was there before, comes just after ours."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.turns = turns
        self.number = 0

    def tag(self, descriptor, tag):
        before = self._tags.get(tag)
        super().tag(descriptor, tag)
        if tag.endswith(".sig") and self.number < self.turns:
            self.number += 1
            raw = b"rival %d" % self.number
            blob = self.put_new(io.BytesIO(raw), SIGNATURES.media_type)
            layers = parse(self.open(before).read()).layers if before else ()
            config = self.put_new(io.BytesIO(b"{}"), mediatypes.OCI_CONFIG)
            theirs = Manifest.build(config=config, layers=(*layers, blob))
            self.put(io.BytesIO(theirs.raw), theirs.descriptor)
            super().tag(theirs.descriptor, tag)


def test_a_writer_that_came_in_between_loses_nothing_and_takes_nothing(new_builder, reference, key):
    store = Rival(turns=3)
    image = new_builder(store).image()
    sign(store, image, reference, key)
    payloads = [each.raw for each in read_attachments(store, image, SIGNATURES)]
    assert payloads[:3] == [b"rival 1", b"rival 2", b"rival 3"]
    assert verify(store, image, reference, [key.public])


def test_gives_up_when_others_replace_the_tag_for_ever(new_builder, reference, key, monkeypatch):
    monkeypatch.setattr("registry.sign.attachments._MAX_PAUSE_S", 0)
    store = Rival(turns=10**6)
    image = new_builder(store).image()
    with pytest.raises(SignatureError, match="others kept replacing its tag sha256-"):
        sign(store, image, reference, key)


def test_yields_an_index_and_all_in_it_once(builder, store):
    images = [
        builder.image(platform=Platform(os="linux", architecture=a)) for a in ("amd64", "arm")
    ]
    inner = builder.index(images[0])
    index = builder.index(inner, *images, inner)
    digests = [each.digest for each in with_children(store, index)]
    assert digests == [each.digest for each in (index, inner, *images)]


def test_does_not_follow_indexes_without_end(builder, store):
    index = builder.image()
    for depth in range(6):
        index = builder.index(index)
        if depth < 4:
            assert len(with_children(store, index)) == depth + 2
    with pytest.raises(InvalidDocumentError, match="nested more than 4 levels deep"):
        with_children(store, index)


def test_does_not_follow_indexes_without_number(builder, store, image):
    entries = [replace(image, digest=sha256(b"%d" % number)) for number in range(MAX_IMAGES)]
    with pytest.raises(InvalidDocumentError, match="leads to more than 1000 images"):
        with_children(store, builder.index(*entries))


# -- verifying


def test_an_image_without_signatures_is_not_signed(store, image, reference, key):
    with pytest.raises(NotSignedError) as caught:
        verify(store, image, reference, [key.public])
    assert str(caught.value) == f"registry.example/team/app@{image.digest}: has no signature"


@FORMS
def test_refuses_a_signature_by_another_key(store, image, reference, key, other_key, form):
    sign(store, image, reference, other_key, form=form)
    named = replace(key.public, name="cosign.pub")
    with pytest.raises(SignatureError) as caught:
        verify(store, image, reference, [named])
    assert caught.value.reason == 'signature 1 is not by the key "cosign.pub"'


def test_refuses_a_signature_without_any_key(store, image, reference, key):
    sign(store, image, reference, key)
    with pytest.raises(SignatureError):
        verify(store, image, reference, [])


def test_refuses_the_signature_of_another_repository(store, image, key, reference):
    other = Reference.parse("registry.example/team/other:1")
    sign(store, image, other, key)
    assert reason(store, image, reference, key) == (
        'signature 1 is for "registry.example/team/other"'
    )
    assert verify(store, image, other, [key.public])


def test_refuses_the_signature_of_another_image(builder, store, image, reference, key):
    other = builder.image(layers=1)
    raw = Payload.build(docker_reference=reference.name, digest=other.digest).raw
    attach(store, image, SIGNATURES, signed(raw, key), "tag")
    assert (
        reason(store, image, reference, key) == f"signature 1 is for another image, {other.digest}"
    )


@pytest.mark.parametrize("part", ["payload", "signature"])
def test_one_changed_bit_is_refused(store, image, reference, key, part):
    payload = Payload.build(docker_reference=reference.name, digest=image.digest)
    good = signed(payload.raw, key)
    signature = base64.b64decode(good.annotations[SIGNATURE])
    whole = payload.raw if part == "payload" else signature
    bits = range(0, len(whole) * 8, 1 + len(whole) * 8 // 60)
    for bit in bits:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        raw = bytes(changed) if part == "payload" else payload.raw
        text = base64.b64encode(changed if part == "signature" else signature).decode()
        attach_quickly(store, image, Attachment(raw=raw, annotations={SIGNATURE: text}))
    assert len(list(read_attachments(store, image, SIGNATURES))) == len(bits)
    told = reason(store, image, reference, key)
    assert told.endswith(f"; and {len(bits) - 3} more")
    attach_quickly(store, image, good)
    assert len(verify(store, image, reference, [key.public])) == 1


def test_a_good_signature_counts_beside_bad_ones(store, image, reference, key, other_key):
    for raw in (b"", b"{", b"{}"):
        attach(store, image, SIGNATURES, signed(raw, key), "tag")
    sign(store, image, reference, other_key)
    sign(store, image, reference, key)
    assert len(verify(store, image, reference, [key.public])) == 1


def test_tells_a_few_reasons_of_many(store, image, reference, key):
    for number in range(5):
        attach(store, image, SIGNATURES, signed(b"%d" % number, key), "tag")
    told = reason(store, image, reference, key)
    assert told.startswith("signature 1 is not a JSON object; signature 2 ")
    assert told.endswith("; and 2 more")


def test_wants_every_annotation(store, image, reference, key):
    sign(store, image, reference, key, annotations={"env": "prod", "team": "app"})
    for wanted in ({}, {"env": "prod"}, {"team": "app", "env": "prod"}):
        assert verify(store, image, reference, [key.public], annotations=wanted)
    for wanted in ({"env": "test"}, {"more": ""}, {"env": "prod", "more": "x"}):
        told = reason(store, image, reference, key, annotations=wanted)
        assert told.startswith("signature 1 has no annotation")


def test_an_annotation_of_the_manifest_is_not_signed(store, image, reference, key):
    payload = Payload.build(docker_reference=reference.name, digest=image.digest)
    good = signed(payload.raw, key)
    beside = Attachment(raw=good.raw, annotations={**good.annotations, "env": "prod"})
    attach(store, image, SIGNATURES, beside, "tag")
    reason(store, image, reference, key, annotations={"env": "prod"})


def test_the_tag_counts_when_it_is_asked_for(store, image, reference, key):
    sign(store, image, reference, key, identity=str(reference))
    assert verify(store, image, reference, [key.public], identity=MatchExact())
    later = replace(reference, tag="2")
    with pytest.raises(SignatureError, match=r'is for "registry\.example/team/app:1"'):
        verify(store, image, later, [key.public], identity=MatchExact())


@pytest.mark.parametrize(
    ("identity", "is_told"),
    [
        (MatchRepoDigestOrExact(), True),
        (ExactReference(reference=Reference.parse("registry.example/team/app:1")), True),
        (RemapIdentity(prefix="registry.example/other", signed_prefix="registry.example"), True),
        (ExactReference(reference=Reference.parse("registry.example/other:1")), False),
        (ExactRepository(name="registry.example/other"), False),
    ],
)
def test_says_that_a_tag_was_asked_for_which_is_mostly_not_signed(
    store, image, reference, key, identity, is_told
):
    sign(store, image, reference, key)
    with pytest.raises(SignatureError, match=r'is for "registry\.example/team/app"') as caught:
        verify(store, image, reference, [key.public], identity=identity)
    assert ("without the tag that is asked for" in str(caught.value)) == is_told


def test_refuses_more_signatures_than_anybody_needs(store, image, reference, key):
    for number in range(MAX_ATTACHMENTS + 1):
        payload = {"number": number, "signed": "by nobody"}
        raw = json.dumps(payload).encode()
        attach_quickly(store, image, Attachment(raw=raw, annotations={SIGNATURE: "AAAA"}))
    with pytest.raises(InvalidDocumentError, match=f"has more than {MAX_ATTACHMENTS} signatures"):
        verify(store, image, reference, [key.public])


def attach_quickly(store, image, attachment):
    attach(store, image, SIGNATURES, attachment, "referrers")


def test_reads_no_payload_that_is_too_large(builder, store, image, reference, key):
    layer = builder.blob(b"x" * (SIGNATURES.limit + 1), SIGNATURES.media_type)
    config = builder.blob(b"{}", "application/vnd.oci.image.config.v1+json")
    manifest = Manifest.build(config=config, layers=[layer])
    store.put(io.BytesIO(manifest.raw), manifest.descriptor)
    store.tag(manifest.descriptor, attachment_tag(image.digest, SIGNATURES))
    with pytest.raises(TooLargeError):
        verify(store, image, reference, [key.public])


def test_an_index_where_signatures_belong_is_refused(builder, store, image, reference, key):
    index = builder.index(builder.image())
    store.tag(index, attachment_tag(image.digest, SIGNATURES))
    with pytest.raises(InvalidDocumentError, match="are in an index"):
        verify(store, image, reference, [key.public])
