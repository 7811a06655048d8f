"""The words of `--cache-from` and `--cache-to`."""

import pytest

from registry.errors import InvalidDigestError, InvalidReferenceError
from registry.oci.digest import sha256
from wcbuild.errors import UsageError
from wcbuild.remotecache.spec import CacheFrom, CacheTo


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("team/app", CacheFrom(ref="team/app")),
        ("type=registry,ref=h.local:5000/app:c", CacheFrom(ref="h.local:5000/app:c")),
        ("ref=app", CacheFrom(ref="app")),
        ("type=local,src=a/b", CacheFrom(kind="local", src="a/b")),
        ("type=local,src=a,tag=main", CacheFrom(kind="local", src="a", tag="main")),
        (
            f"type=local,src=a,digest={sha256(b'')}",
            CacheFrom(kind="local", src="a", digest=sha256(b"")),
        ),
    ],
)
def test_reads_where_a_cache_is(text, parsed):
    assert CacheFrom.parse(text) == parsed


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("team/app:c", CacheTo(ref="team/app:c")),
        ("type=registry,ref=app,mode=max", CacheTo(ref="app", mode="max")),
        ("type=registry,ref=app,oci-mediatypes=true,image-manifest=true", CacheTo(ref="app")),
        (
            "type=registry,ref=app,compression=zstd,compression-level=9,ignore-error=true",
            CacheTo(ref="app", compression="zstd", level=9, ignore_error=True),
        ),
        ("type=local,dest=d,tag=t", CacheTo(kind="local", dest="d", tag="t")),
        ("type=inline", CacheTo(kind="inline")),
        ("inline", CacheTo(kind="inline")),
    ],
)
def test_reads_where_a_cache_goes(text, parsed):
    assert CacheTo.parse(text) == parsed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type=gha", 'there is no type "gha", only registry, local; a CI system can keep'),
        ("type=inline", "such an image is read with --cache-from REF"),
        ("type=registry", "needs ref=REF"),
        ("type=local,dest=d", 'unknown key "dest"'),
        ("type=local,tag=t", "needs src=DIR"),
        ("type=registry,rfe=x", 'did you mean "ref"?'),
        ("type=registry,ref", "needs ref=REF"),
    ],
)
def test_refuses_what_names_no_cache(text, reason):
    with pytest.raises(UsageError) as caught:
        CacheFrom.parse(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type=s3,bucket=b", 'there is no type "s3", only registry, local, inline'),
        ("type=registry,ref=app,mode=all", 'unknown mode "all"; there are min, max'),
        ("type=registry,ref=app,compression=xz", 'unknown compression "xz"'),
        ("type=registry,ref=app,compression-level=x", "is not within 0 to 9"),
        ("type=registry,ref=app,ignore-error=maybe", 'ignore-error is true or false, not "maybe"'),
        ("type=registry,ref=app,image-manifest=false", "caches are OCI manifests here"),
        (f"type=registry,ref=app@{sha256(b'')}", "under a tag, not a digest"),
        ("type=local", "needs dest=DIR"),
        ("type=inline,mode=max", 'unknown key "mode"'),
    ],
)
def test_refuses_what_cannot_be_written(text, reason):
    with pytest.raises(UsageError) as caught:
        CacheTo.parse(text)
    assert reason in str(caught.value)


def test_refuses_names_that_no_registry_could_hold():
    for parse in (CacheFrom.parse, CacheTo.parse):
        with pytest.raises(InvalidReferenceError):
            parse("type=registry,ref=team/UPPER")
    with pytest.raises(InvalidDigestError):
        CacheFrom.parse("type=local,src=a,digest=latest")
