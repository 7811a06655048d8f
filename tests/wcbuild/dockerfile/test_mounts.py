import pytest

from wcbuild.dockerfile.mounts import (
    DeviceSpec,
    MountError,
    MountSpec,
    MountType,
    Sharing,
    early_check,
    parse_device,
    parse_mounts,
)


def read(value, **env):
    (mount,) = parse_mounts([value], lambda word: env.get(word.removeprefix("$"), word))
    return mount


def test_a_mount_without_type_is_a_bind_that_is_only_read():
    assert read("target=/m") == MountSpec(type=MountType.BIND, target="/m", read_only=True)


def test_reads_a_cache_with_all_its_keys():
    value = "type=cache,id=i,dst=/c,sharing=locked,from=base,src=/s,mode=0700,uid=5,gid=6"
    assert read(value) == MountSpec(
        type=MountType.CACHE,
        id="i",
        target="/c",
        sharing=Sharing.LOCKED,
        from_="base",
        source="/s",
        mode=0o700,
        uid=5,
        gid=6,
        read_only=False,
    )


def test_reads_a_secret_and_its_variable():
    assert read("type=secret,id=t,env=TOKEN,required") == MountSpec(
        type=MountType.SECRET, id="t", env="TOKEN", required=True
    )


def test_expands_values_and_even_the_type():
    found = read("TYPE=$t,target=$p", t="tmpfs", p="/x")
    assert (found.type, found.target) == (MountType.TMPFS, "/x")


def test_quoted_fields_may_hold_commas():
    assert read('"target=/a,b","source=say ""hi"""').source == 'say "hi"'


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10m", 10 << 20),
        ("1.5k", 1536),
        ("2GiB", 2 << 30),
        ("7", 7),
        (".5m", 1 << 19),
        ("1e3 b", 1000),
    ],
)
def test_a_size_is_in_bytes(text, size):
    assert read(f"type=tmpfs,target=/t,size={text}").size == size


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "invalid field ''"),
        ("type=foo", 'unsupported mount type "foo"'),
        ("foo=1", "unexpected key 'foo' in 'foo=1'"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("type=cache,sharing=x", 'unsupported sharing value "x"'),
        ("ro=maybe", "invalid value for ro: maybe"),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("type=cache,uid=,uid=8", "invalid value  for uid"),
        ("type=tmpfs,size=1e99", "invalid value for size: 1e99"),
        ("type=tmpfs,size=1e999", "invalid value for size: 1e999"),
        ("size=1m", "unexpected key 'size' for mount type 'bind'"),
        ("required,type=secret,id=a", "unexpected key 'required' for mount type 'bind'"),
        ("type=bind,mode=0777", 'mode not allowed for "bind" type mounts'),
        ("type=secret", "one of source, target required"),
        ("type=secret,id=a,src=b", "both source and id"),
        ("type=secret,id=a,from=b", "should not have a from"),
        ("type=secret,id=a,sharing=locked", "should not define sharing"),
        ("type=bind,sharing=locked", "invalid cache sharing set for bind mount"),
        ('target="/x"', "misplaced quote"),
    ],
)
def test_refuses(value, message):
    with pytest.raises(MountError) as caught:
        read(value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("type=cache,Traget=/x", "Traget"),
        ("type=cach", "cach"),
        ("type=cache,sharing=$mode", "$mode"),
        ("type=cache,target", "target"),
        ("type=bind,required=true", "required"),
    ],
)
def test_names_the_part_to_blame(value, word):
    with pytest.raises(MountError) as caught:
        read(value, mode="lockd")
    assert caught.value.word == word


def test_asks_what_was_meant():
    with pytest.raises(MountError) as caught:
        read("type=cach")
    assert caught.value.hint == 'did you mean "cache"?'


def test_a_variable_in_from_is_refused_early():
    with pytest.raises(MountError, match="'from' doesn't support variable expansion"):
        early_check("type=cache,FROM=$base")
    early_check("type=$t,from=base$,target=$x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("vendor.com/class=one", DeviceSpec(name="vendor.com/class=one")),
        ("vendor.com/class", DeviceSpec(name="vendor.com/class")),
        ("class=one", DeviceSpec(name="class=one")),
        ("name=vendor.com/class,required", DeviceSpec(name="vendor.com/class", required=True)),
        ("vendor.com/class,required=false", DeviceSpec(name="vendor.com/class")),
    ],
)
def test_reads_devices(value, expected):
    assert parse_device(value) == expected


@pytest.mark.parametrize("value", ["", "required", "a,b", "a,foo=1", "name=a,b/c=d"])
def test_refuses_devices(value):
    with pytest.raises(MountError):
        parse_device(value)


@pytest.mark.parametrize(
    ("value", "word", "hint"),
    [
        ("type=bind,target=/a,", "target=/a,", "the comma at its end is too much"),
        ("target=/a,", "target=/a,", "the comma at its end is too much"),
        ("type=bind,,target=/a", ",,", "there is a comma too many"),
        (",target=/a", ",", "there is a comma too many"),
        (",", ",", "the comma at its end is too much"),
    ],
)
def test_a_comma_too_many_is_told_as_such(value, word, hint):
    with pytest.raises(MountError, match="invalid field '' must be a key=value pair") as caught:
        read(value)
    assert (caught.value.word, caught.value.hint) == (word, hint)
