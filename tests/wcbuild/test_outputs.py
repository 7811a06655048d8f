"""`-o` as docker's users write it."""

import pytest

from wcbuild.errors import UsageError
from wcbuild.outputs import Output

MEANT = {
    "-": Output(kind="tar", dest="-"),
    "out": Output(kind="local", dest="out"),
    "type=local,dest=out": Output(kind="local", dest="out"),
    "type=tar": Output(kind="tar", dest="-"),
    "type=oci,tar=false,dest=out": Output(kind="oci", dest="out", tar=False),
    'type=oci,"dest=a,b.tar"': Output(kind="oci", dest="a,b.tar"),
    "TYPE=oci, Dest=a.tar": Output(kind="oci", dest="a.tar"),
    "type=image,push=true,name=a": Output(kind="registry", dest="-", names=("a",)),
    "type=image,push=false,name=a": Output(kind="image", dest="-", names=("a",)),
    'type=registry,"name=a,b"': Output(kind="registry", dest="-", names=("a", "b")),
    "type=image,push=true,push-by-digest=true,name-canonical=true,name=a": Output(
        kind="registry", dest="-", names=("a",), by_digest=True
    ),
    "type=oci,oci-mediatypes=true,rewrite-timestamp=true,compression=zstd,compression-level=19": Output(
        kind="oci", dest="-", compression="zstd", level=19
    ),
    "type=cacheonly": Output(kind="cacheonly", dest="-"),
}


@pytest.mark.parametrize("text", MEANT)
def test_reads_what_docker_reads(text):
    assert Output.parse(text) == MEANT[text]


REFUSED = {
    "": "is empty",
    "dest=x": "unknown type",
    "type=foo": "there are image",
    "type=local": "needs dest=DIR",
    "type=local,dest=-": "needs dest=DIR",
    "type=oci,tar=false": "needs dest=DIR",
    "type=docker,tar=false,dest=x": "is an archive",
    "type=oci,tar=maybe": "true or false",
    "type=oci,compresion=zstd": 'did you mean "compression"',
    "type=oci,compression=lz4": "there are gzip, zstd",
    "type=oci,compression-level=10": "0 to 9",
    "type=oci,compression=zstd,compression-level=0": "1 to 22",
    "type=oci,oci-mediatypes=false": "only oci-mediatypes=true",
    "type=oci,force-compression=true": "stay as they are",
    "type=image,annotation-manifest.a=b": "--annotation",
    'type=oci,dest="x': "misplaced quote",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refuses_what_would_not_be_done_and_says_what_is(text):
    with pytest.raises(UsageError, match=REFUSED[text]):
        Output.parse(text)
